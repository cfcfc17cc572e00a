"""Root without one of its capabilities, as in a container: a command works, or names the capability that it lacks."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from support.daemon import Echod, give
from support.processes import MountNamespace, proc_status
from support.wait import alive, need, need_root, skip

WORKS = ("chown", "fowner", "kill", "setpcap", "sys_resource", "sys_ptrace", "sys_chroot", "net_raw")
NAMED = {
    "setgid": "echod: cannot become user nobody: Operation not permitted",
    "setuid": "echod: cannot become user nobody: Operation not permitted",
    "net_bind_service": "echod: cannot listen on 127.0.0.1:7: Permission denied",
    "dac_override": "echod: {}/echod.pid: Permission denied",
}


@pytest.fixture
def without():
    """Return a function that makes a daemon whose commands are root's, without a capability."""
    need_root()
    made = []

    def without(capability, **settings):
        home = Path(tempfile.mkdtemp(prefix="echod-test-"))  # every user must reach it, unlike pytest's own
        home.chmod(0o755)
        give(home)
        daemon = Echod(home, prefix=[need("setpriv"), f"--bounding-set=-{capability}"], **settings)
        made.append(daemon)
        return daemon

    yield without
    for daemon in made:
        daemon.prefix = []
        daemon.cleanup()
        shutil.rmtree(daemon.home)


@pytest.mark.parametrize("capability", WORKS)
def test_it_works(without, capability):
    daemon = without(capability, max_children=10).start()
    with daemon.connect() as conn:
        conn.sendall(b"x")
        assert conn.recv(1) == b"x"
    pid = daemon.pid
    daemon.write(max_children=11)
    daemon.run("reload", check=0)
    daemon.run("upgrade", check=0)
    daemon.run("reopen", check=0)
    daemon.run("status", check=0)
    daemon.run("stop", check=0)
    assert not alive(pid)


def test_a_child_is_killed_without_the_right_to_signal_other_users(without):
    daemon = without("kill", drain_timeout="never").start()
    with daemon.connect() as conn:
        conn.sendall(b"x")
        assert conn.recv(1) == b"x"
        pids = [daemon.pid, *(child.pid for child in daemon.children())]
        daemon.run("stop", "--timeout", 0, "--force", check=0)
        assert not any(map(alive, pids))


@pytest.mark.parametrize("capability", NAMED)
def test_it_is_named(without, capability):
    daemon = without(capability, listen="127.0.0.1:7")
    done = daemon.run("start", check=4)
    assert done.stderr.startswith(NAMED[capability].format(daemon.home))
    assert f"CAP_{capability.upper()}" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("settings", [{}, {"user": "4242"}, {"user": "4242", "group": "4343"}])
def test_a_passwd_without_entries(without, settings):
    """As in an image from scratch: root's daemon becomes a number."""
    daemon = without("sys_boot", **settings)
    os.chown(daemon.home, int(settings.get("user", 65534)), -1)
    script = "mount --bind /dev/null /etc/passwd && mount --bind /dev/null /etc/group"
    with MountNamespace(script) as space:
        daemon.prefix = space.prefix
        daemon.start()
        user = int(settings.get("user", 65534))
        group = int(settings.get("group", user))
        status = proc_status(daemon.pid)
        assert status["Uid"].split() == [str(user)] * 4
        assert status["Gid"].split() == [str(group)] * 4
        daemon.run("status", check=0)
        daemon.run("check", check=0)
        daemon.run("restart", check=0)
        daemon.run("stop", check=0)


def test_an_ordinary_user_without_an_entry(without):
    daemon = without("sys_boot")
    os.chown(daemon.home, 4242, 4242)
    ids = [need("setpriv"), "--reuid=4242", "--regid=4242", "--clear-groups", "--"]
    with MountNamespace("mount --bind /dev/null /etc/passwd && mount --bind /dev/null /etc/group") as space:
        daemon.prefix = [*space.prefix, *ids]
        daemon.start()
        daemon.run("reload", check=0)
        daemon.run("stop", check=0)


def test_root_of_a_user_namespace(without):
    """Only root has a number there: `nobody` cannot be become, and `user = root` works."""
    unshare = [need("unshare"), "--user", "--map-root-user"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        skip("user namespaces")
    daemon = without("sys_boot")
    os.chown(daemon.home, 0, 0)
    daemon.prefix = unshare
    done = daemon.run("start", check=4)
    assert done.stderr.startswith("echod: cannot become user nobody: ")
    assert "-o user=root" in done.stderr
    daemon.start(user="root")
    daemon.run("reload", check=0)
    daemon.run("stop", check=0)
