"""An ordinary user logs in, starts a daemon and logs out. Every later login, cron job and su must find that daemon.

A login makes XDG_RUNTIME_DIR, and the last logout removes it (pam_systemd(8)); cron has none, and su may leave root's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psutil
import pytest

from support.daemon import ECHOD
from support.processes import MountNamespace
from support.sockets import exchange
from support.wait import DEADLINE, alive, need, need_root, wait_for

USER = 5  # games: nobody's processes are another test's business
NAME = "games"
pytestmark = pytest.mark.xdist_group("logout")


class User:
    """An ordinary user with a home, as passwd has it, who may be logged in."""

    def __init__(self, home, prefix):
        self.home = home
        self.log = home / "log"
        self.runtime = home.parent / "runtime"
        self.roots_runtime = home.parent / "roots-runtime"
        self.ids = [need("setpriv"), "--reuid", str(USER), "--regid", str(USER), "--clear-groups", "--"]
        self.prefix = prefix
        self.roots_runtime.mkdir(mode=0o700)
        self.temporary = home.parent / "tmp"
        self.temporary.mkdir()
        self.temporary.chmod(0o1777)

    def login(self):
        """Make the runtime directory."""
        self.runtime.mkdir(mode=0o700)
        os.chown(self.runtime, USER, USER)

    def logout(self):
        """Remove the runtime directory."""
        shutil.rmtree(self.runtime)

    def environment(self, where):
        """Return what a command finds in its environment."""
        common = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LOGNAME": NAME, "TMPDIR": str(self.temporary)}
        runtime = {"login": self.runtime, "su": self.roots_runtime}.get(where)
        return common | ({"XDG_RUNTIME_DIR": str(runtime)} if runtime else {})

    def echod(self, where, *words):
        """Run a command from a login, from cron or from su, with no pid file in the settings."""
        command = [*self.prefix, *self.ids, ECHOD, "-o", "listen=127.0.0.1:0", "-o", f"log={self.log}", *words]
        environment = self.environment(where)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE, cwd="/")
        assert "Traceback" not in done.stderr
        return done

    def ready(self):
        """Return the pids of the daemons that became ready, and the port of the last one."""
        lines = [line for line in self.log.read_text().splitlines() if "]: ready " in line]
        pids = [int(line.partition("echod[")[2].partition("]")[0]) for line in lines]
        return pids, int(lines[-1].partition("listen=127.0.0.1:")[2].split()[0])

    def processes(self):
        """Return this user's processes: the daemons that a test has started, and their children."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.uids().real == USER and any(str(self.log) in word for word in process.cmdline()):
                    found.append(process)
        return found


@pytest.fixture
def user():
    need_root()
    base = Path(tempfile.mkdtemp(prefix="echod-user-"))
    base.chmod(0o755)
    home = base / "home"
    home.mkdir(mode=0o755)
    os.chown(home, USER, USER)
    lines = Path("/etc/passwd").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(f"{NAME}:")]
    (base / "passwd").write_text("\n".join([*kept, f"{NAME}:x:{USER}:{USER}::{home}:/bin/sh", ""]))
    with MountNamespace(f"mount --bind {base}/passwd /etc/passwd") as space:
        user = User(home, space.prefix)
        user.login()
        yield user
        for process in user.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        wait_for(lambda: not user.processes(), "the daemons to be gone")
    shutil.rmtree(base)


@pytest.fixture
def away(user):
    """Return a user who has started a daemon and has logged out."""
    assert user.echod("login", "start").returncode == 0
    user.logout()
    return user


def test_the_daemon_keeps_serving(away):
    (pid,), port = away.ready()
    assert exchange(("127.0.0.1", port), b"x") == b"x"
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not alive(pid), "the daemon to end")
    assert "]: stopped" in away.log.read_text().splitlines()[-1]


@pytest.mark.parametrize("where", ["cron", "su", "login"])
@pytest.mark.parametrize(
    ("command", "says"), [("status", "pid {}"), ("start", "already running, pid {}"), ("reload", ""), ("upgrade", "")]
)
def test_a_command_finds_it(away, where, command, says):
    if where == "login":
        away.login()
    (pid,), _ = away.ready()
    done = away.echod(where, command)
    assert done.returncode == 0
    assert says.format(pid) in done.stdout
    assert set(away.ready()[0]) == {pid}  # an upgraded daemon is ready again


@pytest.mark.parametrize("where", ["cron", "su", "login"])
def test_stop(away, where):
    if where == "login":
        away.login()
    (pid,), _ = away.ready()
    assert away.echod(where, "stop").returncode == 0
    assert not alive(pid)


def test_a_login_finds_what_cron_has_started(user):
    assert user.echod("cron", "start").returncode == 0
    assert user.echod("login", "status").returncode == 0


def test_the_same_login_finds_it(user):
    assert user.echod("login", "start").returncode == 0
    (pid,), _ = user.ready()
    assert f"pid {pid}" in user.echod("login", "status").stdout
    assert user.echod("login", "stop").returncode == 0
    assert user.processes() == []
