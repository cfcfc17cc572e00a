"""Try each file of a release in a Debian that was installed just now: install it, start echod, check the echo, stop.

The sdist's tests are run there, too. `release_try.py DIST`; it needs root, mmdebstrap and a network.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from support import chroot

LONGEST_S = 1800.0
PLACE = "/root/release"
LIFE = """set -eu
ip link set lo up 2>/dev/null || true
{install}
echod start -o listen=127.0.0.1:27978
echoc --check 127.0.0.1
echoc --verify -s 64KiB 127.0.0.1
echod upgrade
echod status
echod stop
"""
VENV = "python3 -m venv /tmp/venv && /tmp/venv/bin/pip install -q {file} && PATH=/tmp/venv/bin:$PATH"
TESTS = """set -eu
mkdir /tmp/source && tar -xf {file} -C /tmp/source --strip-components=1 && cd /tmp/source
make test JOBS=4 TESTS='tests/unit tests/test_layout.py tests/system/test_start.py tests/system/test_stop.py'
"""


def main(dist: Path) -> int:
    """Return 0 if everything works."""
    (wheel,), (sdist,), (package,) = (list(dist.glob(kind)) for kind in ("*.whl", "*.tar.gz", "*.deb"))
    with tempfile.TemporaryDirectory(prefix="echod-release-") as directory:
        base = chroot.make_chroot(f"{directory}/base", "bookworm", ["make", "python3", "python3-venv", "iproute2"])
        shutil.copytree(dist, base / PLACE.lstrip("/"))
        for file, script in (
            (wheel, LIFE.replace("{install}", VENV)),
            (sdist, LIFE.replace("{install}", VENV)),
            (sdist, TESTS),
            (package, LIFE.replace("{install}", "apt-get update -q && apt-get install -yq {file}")),
        ):
            words = ["sh", "-c", script.replace("{file}", f"{PLACE}/{file.name}")]
            said, code = chroot.run(base, words, network=True, directory=PLACE, timeout=LONGEST_S)
            print(f"{file.name}: {'works' if code == 0 else f'exit code {code}'}", flush=True)
            if code:
                print(said)
                return 1
            shutil.rmtree(base / "tmp", ignore_errors=True)
            (base / "tmp").mkdir(mode=0o1777)
            (base / "tmp").chmod(0o1777)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
