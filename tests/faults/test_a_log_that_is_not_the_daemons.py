"""`log` through links and at devices: what root opens for the daemon is what the daemon's user could have opened."""

from __future__ import annotations

import os
import stat

import pytest

from support.daemon import give
from support.processes import NOBODY
from support.wait import need_root


@pytest.fixture
def logs(echod):
    """Return a directory of the daemon's, where the log is, and which its user may fill as it likes."""
    need_root()
    directory = echod.home / "logs"
    directory.mkdir()
    give(directory)
    echod.write(log=directory / "echod.log")
    return directory


def test_a_link_to_a_file_of_roots(echod, logs, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("root's\n")
    (logs / "echod.log").symlink_to(secret)
    done = echod.run("start", check=4)
    assert done.stderr.startswith(
        f"echod: cannot open the log: {logs}/echod.log: Permission denied for user {NOBODY}; `install -d -o {NOBODY} "
        "/var/log/echod"
    )
    assert secret.read_text() == "root's\n"
    assert secret.stat().st_uid == 0


def test_a_device_keeps_its_owner(echod):
    need_root()
    before = os.stat("/dev/null")
    echod.start(log="/dev/null")
    after = os.stat("/dev/null")
    assert (before.st_uid, before.st_gid, before.st_mode) == (after.st_uid, after.st_gid, after.st_mode)


def test_a_link_planted_before_a_reload_or_a_reopen(echod, logs, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("root's\n")
    echod.log = logs / "echod.log"
    echod.start()
    assert stat.S_ISREG(echod.log.stat().st_mode)
    (logs / "other.log").symlink_to(secret)
    echod.write(log=logs / "other.log")
    assert "Permission denied" in echod.run("reload", check=4).stderr
    echod.log.unlink()
    echod.log.symlink_to(secret)
    assert "the old file is still in use" in echod.run("reopen", check=1).stderr
    assert secret.read_text() == "root's\n"
    assert secret.stat().st_uid == 0


def test_a_directory_that_only_root_may_write(echod, tmp_path):
    need_root()
    os.chmod(tmp_path, 0o755)
    done = echod.run("-o", f"log={tmp_path}/echod.log", "start", check=4)
    assert (
        f"{tmp_path}/echod.log: Permission denied for user {NOBODY}; `install -d -o {NOBODY} /var/log/" in done.stderr
    )
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "spelling", ["{0}", "{1}/../{2}/echod.pid", "{1}//echod.pid", "{1}/./echod.pid.scoreboard", "link"]
)
@pytest.mark.parametrize("command", ["start", "run", "check"])
def test_a_log_is_never_the_pid_file_or_the_scoreboard(echod, spelling, command):
    log = spelling.format(echod.pid_file, echod.home, echod.home.name)
    if spelling == "link":
        log = echod.home / "link"
        log.symlink_to("echod.pid")
    echod.write(log=log)
    done = echod.run(command, check=6)
    assert "is the pid file or the scoreboard" in done.stderr
    assert f"{echod.config}:" in done.stderr
    assert not echod.pid_file.exists()


@pytest.mark.parametrize("name", ["echod.pid", "echod.pid.scoreboard"])
@pytest.mark.parametrize("link", [os.symlink, None])  # no command opens a pid file that has a second name
def test_neither_a_reload_nor_a_reopen_writes_to_the_pid_file(running, name, link):
    log = running.home / name
    if link:
        log = running.home / "other.log"
        link(running.home / name, log)
    running.write(log=log)
    assert "is the pid file or the scoreboard" in running.run("reload", check=6).stderr
    if link:
        running.log.unlink()
        link(running.home / name, running.log)
        assert "is the pid file or the scoreboard" in running.run("reopen", check=1).stderr
    running.write(log=running.home / "third.log")
    assert running.run("start", check=0).stdout == f"echod: already running, pid {running.pid}\n"


def test_stderr_is_for_the_foreground(echod):
    echod.write(log="stderr")
    assert "log: 'stderr' is for `echod run`" in echod.run("start", check=6).stderr
    echod.run("check", check=0)


def test_an_output_of_the_command_is_no_file(echod):
    need_root()
    for path in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        done = echod.run("-o", f"log={path}", "run")
        if done.returncode:
            assert (
                done.stderr
                == f"echod: cannot open the log: {path}: Permission denied; use log = stderr, with `echod run`\n"
            )
