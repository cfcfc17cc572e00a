"""A Debian of the smallest kind in a directory, and commands in it as on a machine that was installed just now.

A command has its own processes, whose PID 1 reaps orphans at once, and its own mounts. It sees no PYTHON* variable and
no /dev/log. pip is configured as on this machine.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from support.wait import need, need_root

INIT = Path(__file__).with_name("chroot_init.py")
SOURCES = "/etc/apt/sources.list.d/debian.sources"
PIP_CONFIGS = ("/etc/pip.conf", "/etc/xdg/pip")
USER, USER_ID = "somebody", 1000


def make_chroot(path, suite, packages, architecture=None):
    """Install a Debian of variant minbase into a new directory with more packages, and return it.

    The packages come from the sources that apt has here, if they are of this suite, and else from Debian's archive.
    """
    need_root()
    words = [need("mmdebstrap"), "--quiet", "--variant=minbase", f"--include={','.join(packages)}"]
    if architecture:
        words.append(f"--architectures={architecture}")
    done = subprocess.run([*words, suite, path, *sources(suite)], capture_output=True, text=True)
    assert done.returncode == 0, (done.args, done.stdout, done.stderr)
    return Path(path)


def sources(suite):
    """Return what tells mmdebstrap where packages come from: this machine's sources, if they are of the suite."""
    if Path(SOURCES).exists() and re.search(rf"^Suites:.*\b{suite}\b", Path(SOURCES).read_text(), re.MULTILINE):
        return [SOURCES]
    return []


def add_user(root):
    """Add an ordinary user with a home to a chroot, and return the home as it is seen in there."""
    for name, line in (
        ("passwd", f"{USER}:x:{USER_ID}:{USER_ID}::/home/{USER}:/bin/sh"),
        ("group", f"{USER}:x:{USER_ID}:"),
    ):
        with (root / "etc" / name).open("a") as file:
            file.write(f"{line}\n")
    home = root / "home" / USER
    home.mkdir(mode=0o755)
    os.chown(home, USER_ID, USER_ID)
    return f"/home/{USER}"


def shown_for_pip():
    """Return the paths on this machine of pip's configuration and of what it names, none of them below another."""
    configs = [path for path in PIP_CONFIGS if os.path.exists(path)]
    texts = list(pip_environ().values())
    for config in configs:
        files = [config] if os.path.isfile(config) else [str(path) for path in Path(config).iterdir() if path.is_file()]
        texts += [Path(path).read_text() for path in files]
    named = re.findall(r"(?:(?<=file://)|(?<![\w:/.]))/[\w.+-]+(?:/[\w.+-]+)+", "\n".join(texts))
    found = [
        path.removesuffix("/simple") for path in {*configs, *named} if os.path.exists(path)
    ]  # an index has files beside it
    return sorted(path for path in found if not any(path.startswith(f"{other}/") for other in found))


def pip_environ():
    """Return the variables that configure pip, its certificates and proxies."""
    pattern = re.compile(r"PIP_\w+|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|(https?|no)_proxy", re.IGNORECASE)
    return {key: value for key, value in os.environ.items() if pattern.fullmatch(key)}


def command(root, words, *, user="root", directory="/", network=False, **environ):
    """Return the command line that runs another one in a chroot."""
    home = "/root" if user == "root" else f"/home/{user}"
    spec = {
        "root": str(root),
        "words": [str(word) for word in words],
        "uid": 0 if user == "root" else USER_ID,
        "directory": directory,
        "network": network,
        "shown": shown_for_pip(),
        "environ": {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": home,
            "USER": user,
            "TERM": "dumb",
            "LANG": "C.UTF-8",
        }
        | pip_environ()
        | environ,
    }
    spaces = ["--pid", "--fork", "--kill-child", "--mount", "--ipc", "--uts", *([] if network else ["--net"])]
    return [need("unshare"), *spaces, "--", sys.executable, "-I", str(INIT), json.dumps(spec)]


def run(root, words, **kwargs):
    """Run a command in a chroot and return what it printed, in one text, and its exit code."""
    timeout = kwargs.pop("timeout", 300)
    done = subprocess.run(
        command(root, words, **kwargs),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        timeout=timeout,
    )
    return done.stdout, done.returncode
