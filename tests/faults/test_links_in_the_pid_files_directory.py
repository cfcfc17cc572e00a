"""The daemon's user owns the pid file's directory and puts there what another process has locked."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess

import pytest

from echod.common import scoreboard
from support.board import new_board
from support.processes import NOBODY, fork, reap, state
from support.wait import need_root


@pytest.fixture
def locked(tmp_path):
    """Return a file of root's, and the pid of the root's process that holds a lock on it."""
    need_root()
    path = tmp_path / "lock"
    read_end, write_end = os.pipe()

    def hold():
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        fcntl.lockf(fd, fcntl.LOCK_EX)
        os.write(write_end, b"held")
        signal.pause()

    pid = fork(hold)
    assert os.read(read_end, 4) == b"held"
    yield path, pid
    os.kill(pid, signal.SIGKILL)
    assert reap(pid) == -signal.SIGKILL, "an unrelated process was ended"
    os.close(read_end)
    os.close(write_end)


def symlink(target, pid_file):
    command = ["ln", "-s", str(target), str(pid_file)]
    subprocess.run(command, check=True, user=NOBODY, group=NOBODY, extra_groups=[])


def hard_link(target, pid_file):
    os.link(target, pid_file)  # as root: most kernels keep others from it (fs.protected_hardlinks)


def move(target, pid_file):
    os.rename(target, pid_file)  # as who may write to both directories could


@pytest.mark.parametrize("plant", [symlink, hard_link, move])
@pytest.mark.parametrize("words", [["stop"], ["stop", "--timeout", "0.1", "--force"], ["reload"], ["reopen"]])
def test_root_signals_nobody_else(echod, locked, plant, words):
    target, pid = locked
    plant(target, echod.pid_file)
    plant_scoreboard(echod, pid)
    done = echod.run(*words)
    assert done.returncode in (1, 4)
    assert str(echod.pid_file) in done.stderr
    assert state(pid) == "S"
    for path in (str(echod.pid_file), f"{echod.pid_file}.scoreboard"):
        os.unlink(path)


def plant_scoreboard(echod, pid):
    """Have the scoreboard say that this is the daemon: its user can write to the real one."""
    board = new_board(f"{echod.pid_file}.scoreboard")
    board.words[scoreboard.PID] = pid
    board.words[scoreboard.STATE] = scoreboard.RUNNING
    board.set_texts(config_file=str(echod.config), listen=[], overrides=[])


@pytest.mark.parametrize("plant", [symlink, hard_link])
def test_start_writes_to_no_other_file(echod, tmp_path, plant):
    need_root()
    target = tmp_path / "precious"
    target.write_text("1\n")
    plant(target, echod.pid_file)
    assert str(echod.pid_file) in echod.run("start", check=1).stderr
    assert target.read_text() == "1\n"
    assert echod.run("status").returncode == 4
    echod.pid_file.unlink()


def test_the_scoreboard_of_another_process_is_not_believed(running):
    board = f"{running.pid_file}.scoreboard"
    with open(board, "rb+") as file:
        file.seek(8 * scoreboard.PID)
        file.write((1).to_bytes(8, "little"))
    assert "not the scoreboard of process" in running.run("status", check=4).stderr
    running.run("stop", check=0)
