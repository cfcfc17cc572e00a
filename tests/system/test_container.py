"""What Containerfile describes, made by its steps without a builder, and run by runc: read-only, no capabilities."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import shlex
import subprocess

import psutil
import pytest

from support.debian import ROOT, run
from support.wait import DEADLINE, need, need_network, need_root, wait_for

# installs Debian from its mirror, which takes a minute and the network
pytestmark = [pytest.mark.timeout(600), pytest.mark.campaign, pytest.mark.xdist_group("debian")]

MIRROR = "http://deb.debian.org/debian"
STEPS = dict(
    line.split(" ", 1) for line in (ROOT / "Containerfile").read_text().splitlines() if not line.startswith("#")
)


@pytest.fixture(scope="module")
def image(built, tmp_path_factory):
    """Return a root file system: Debian's smallest, with what COPY and RUN put into it."""
    need_root()
    tool = need("mmdebstrap")
    need("runc")
    need_network()
    package = next(built.glob("echod_*.deb"))
    source, target = STEPS["COPY"].split()
    assert fnmatch.fnmatch(f"dist/{package.name}", source)
    root = tmp_path_factory.mktemp("image") / "root"
    suite = STEPS["FROM"].partition(":")[2].removesuffix("-slim")
    hooks = [f"copy-in {shlex.quote(str(package))} {target}", f'chroot "$1" sh -c {shlex.quote(STEPS["RUN"])}']
    run(
        tool,
        "--variant=minbase",
        "--dpkgopt=force-unsafe-io",
        *(f"--customize-hook={hook}" for hook in hooks),
        suite,
        root,
        MIRROR,
    )
    return root


class Container:
    """A container with the user, command and health check of Containerfile."""

    def __init__(self, root, home):
        self._runc = [need("runc"), "--root", str(home / "state")]
        self.config = home / "echod.conf"
        self.config.write_text("[echod]\n")
        home.chmod(0o755)
        run(self._runc[0], "spec", "--bundle", home)
        spec = json.loads((home / "config.json").read_text())
        user, group = (run("chroot", root, "id", option, "nobody").strip() for option in ("-u", "-g"))
        assert STEPS["USER"] == "nobody:nogroup"
        spec["process"] |= {"terminal": False, "user": {"uid": int(user), "gid": int(group)}, "capabilities": {}}
        spec["process"]["args"] = json.loads(STEPS["CMD"])
        spec["root"] = {"path": str(root), "readonly": True}
        spec["mounts"] += [
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]},
            {"destination": "/etc/echod.conf", "type": "bind", "source": str(self.config), "options": ["bind", "ro"]},
        ]
        (home / "config.json").write_text(json.dumps(spec))
        self.name = f"echod-test-{os.getpid()}"
        self.log = home / "log"
        with self.log.open("w") as log:
            words = [*self._runc, "run", "--bundle", home, self.name]
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: "ready listen" in self.log.read_text() or self.process.poll() is not None, "the container")

    def exec(self, *words, **kwargs):
        """Run a command in the container."""
        return subprocess.run([*self._runc, "exec", self.name, *words], capture_output=True, text=True, **kwargs)

    def status(self):
        return json.loads(self.exec("echod", "status", "--json").stdout)

    def init(self):
        """Return the container's PID 1, as it is seen from here."""
        return psutil.Process(json.loads(run(*self._runc, "state", self.name))["pid"])

    def kill(self, signal):
        run(*self._runc, "kill", self.name, signal)

    def close(self):
        if self.process.poll() is None:
            with contextlib.suppress(AssertionError):
                self.kill("KILL")
        self.process.wait(DEADLINE)
        subprocess.run([*self._runc, "delete", "--force", self.name], capture_output=True)


@pytest.fixture
def container(image, tmp_path):
    container = Container(image, tmp_path)
    yield container
    container.close()


def orphan(container):
    """Leave a process behind that nobody but PID 1 is there to reap, and see that it does."""
    container.exec("sh", "-c", "sleep 60 >/dev/null 2>&1 &")
    found = wait_for(container.init().children, "an orphan")
    found[0].kill()
    wait_for(lambda: not container.init().children(), "the orphan to be reaped")


def test_a_container(container):
    state = container.status()
    assert (state["state"], state["pid"]) == ("running", 1)
    assert "Read-only file system" in container.exec("touch", "/etc/x").stderr
    facts = dict(line.split(":\t", 1) for line in container.exec("cat", "/proc/1/status").stdout.splitlines())
    assert (facts["Uid"].split()[0], facts["CapBnd"], facts["CapEff"]) == ("65534", "0" * 16, "0" * 16)

    health = container.exec(*json.loads(STEPS["HEALTHCHECK"].partition(" CMD ")[2]))
    assert (health.returncode, health.stdout[:7]) == (0, "ECHO OK")
    assert container.exec("echoc", "127.0.0.1", input="hello\n").stdout == "hello\n"

    container.config.write_text("[echod]\nmax_children = 7\n")
    done = container.exec("echod", "reload")
    assert done.returncode == 0, done
    assert container.status()["max_children"] == 7

    orphan(container)
    container.kill("TERM")
    assert container.process.wait(DEADLINE) == 0
    assert "stopped" in container.log.read_text()
