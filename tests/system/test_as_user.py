"""An ordinary user has a daemon, too: with a runtime directory, or a directory of its own below the temporary one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from support.daemon import ECHOD
from support.sockets import exchange
from support.wait import DEADLINE, alive, need, need_root, wait_for

USER = 40000 + os.getpid() % 20000  # without an entry in passwd, and of this worker alone
DIRECTORY = Path(f"/tmp/echod-{USER}")


class User:
    """An ordinary user at the command line, with a home of its own and no pid file in the settings."""

    def __init__(self, home):
        self.home = home
        self.environment = {"PATH": os.environ["PATH"], "TMPDIR": "/elsewhere"}
        self.log = home / "log"
        self.ids = [need("setpriv"), "--reuid", str(USER), "--regid", str(USER), "--clear-groups", "--"]

    def echod(self, *words, check=None):
        command = [*self.ids, ECHOD, "-o", "listen=127.0.0.1:0", "-o", f"log={self.log}", *words]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=DEADLINE, check=False, cwd="/"
        )
        assert "Traceback" not in done.stderr
        if check is not None:
            assert done.returncode == check, done
        return done


@pytest.fixture
def user():
    need_root()
    home = Path(tempfile.mkdtemp(prefix="echod-user-"))
    (home / "tmp").mkdir()
    for path in (home, home / "tmp"):
        os.chown(path, USER, USER)
    (home / "tmp").chmod(0o1777)
    user = User(home)
    yield user
    user.echod("stop", "--timeout", "5", "--force")
    shutil.rmtree(home)
    for path in (DIRECTORY, DIRECTORY.with_name(f"target-{USER}")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def lives(user, pid_file):
    """Take a daemon through its life and see where it keeps its files."""
    assert user.echod("status").returncode == 3
    user.echod("start", check=0)
    assert "already running" in user.echod("start", check=0).stdout
    state = json.loads(user.echod("status", "--json", check=0).stdout)
    pid = state["pid"]
    assert pid_file.read_text() == f"{pid}\n"
    assert pid_file.with_name("echod.pid.scoreboard").exists()
    assert pid_file.parent.stat().st_mode & 0o777 == 0o700
    assert pid_file.stat().st_uid == pid_file.parent.stat().st_uid == USER
    host, _, port = state["listen"][0].rpartition(":")
    assert exchange((host, int(port)), b"mine") == b"mine"
    user.echod("reload", check=0)
    user.echod("reopen", check=0)
    user.echod("restart", check=0)
    assert not alive(pid)
    user.echod("stop", check=0)
    assert list(pid_file.parent.iterdir()) == []


def test_without_a_home(user):
    """Neither XDG_RUNTIME_DIR nor TMPDIR counts: cron has others than a login. test_logout.py has a home."""
    user.environment["XDG_RUNTIME_DIR"] = str(user.home)
    lives(user, DIRECTORY / "echod.pid")


def somebody_elses(path):
    path.mkdir(0o700)


def open_to_others(path):
    path.mkdir()
    os.chown(path, USER, USER)
    path.chmod(0o777)


def symlink(path):
    target = path.with_name(f"target-{USER}")
    open_to_others(target)
    target.chmod(0o700)
    path.symlink_to(target)


def plain_file(path):
    path.touch()
    os.chown(path, USER, USER)


@pytest.mark.parametrize("hostile", [somebody_elses, open_to_others, symlink, plain_file])
@pytest.mark.parametrize("command", ["start", "stop", "status", "reload"])
def test_a_directory_that_somebody_else_made_is_refused(user, hostile, command):
    path = DIRECTORY
    hostile(path)
    done = user.echod(command)
    assert done.returncode in (4, 6)
    assert done.stderr.startswith(f"echod: {path}: ")
    assert "set pid_file" in done.stderr
    assert done.stderr.count("\n") == 1
    user.echod("-o", f"pid_file={user.home}/mine.pid", "start", check=0)
    user.echod("-o", f"pid_file={user.home}/mine.pid", "stop", check=0)


def test_cannot_become_somebody_else(user):
    done = user.echod("-o", "user=mail", "start")
    assert done.returncode == 4
    assert "only root can become 'mail'" in done.stderr


def test_the_log_of_a_daemon_that_gave_up_root_can_be_reopened(echod):
    need_root()
    echod.start()
    rotated = echod.home / "old.log"
    echod.log.rename(rotated)
    echod.run("reopen", check=0)
    exchange(echod.address, b"x")
    wait_for(lambda: echod.events("close"), "the line in the new file")
