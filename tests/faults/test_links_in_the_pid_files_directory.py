"""The daemon's user owns the pid file's directory and puts there what another process has locked."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys

import pytest

from echod.cli import daemon
from echod.cli.pidfile import PidFile
from echod.common import scoreboard
from support.board import new_board
from support.processes import NOBODY, fork, proc_status, reap, state
from support.wait import need_root, wait_for


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
    return board


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


@pytest.fixture
def lock_holder(echod):
    """Return a function that lets the daemon's user lock the pid file, and then execute a program."""
    need_root()
    pids = []

    def hold(*command):
        def execute():
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            fd = os.open(echod.pid_file, os.O_RDWR | os.O_CREAT)
            os.set_inheritable(fd, True)
            fcntl.lockf(fd, fcntl.LOCK_EX)
            os.execv(command[0], command)

        pids.append(fork(execute))
        wait_for(lambda: PidFile(str(echod.pid_file)).holder() == pids[-1], "the lock")
        return pids[-1]

    yield hold
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        assert reap(pid) == -signal.SIGKILL, "an unrelated process was ended"


@pytest.mark.parametrize("words", [["stop", "--timeout", "0.1"], ["stop", "--timeout", "0.1", "--force"]])
def test_a_setuid_program_that_was_given_the_lock_is_no_server(echod, lock_holder, words):
    program = echod.home / "setuid"
    shutil.copy(os.path.realpath(sys.executable), program)
    os.chown(program, 0, 0)
    program.chmod(0o4755)
    script = "import os, signal; os.setresuid(0, 0, 0); signal.pause()"
    pid = lock_holder(str(program), "-I", "-S", "-c", script, daemon.BOOT, f"pid_file={echod.pid_file}")
    wait_for(lambda: proc_status(pid)["Uid"].split() == ["0"] * 4 and state(pid) == "S", "the program")
    plant_scoreboard(echod, pid)
    done = echod.run(*words, check=4)
    assert "who may not signal it" in done.stderr
    assert state(pid) == "S"
    os.unlink(f"{echod.pid_file}.scoreboard")


def test_no_command_waits_for_what_the_daemons_user_wrote(echod, lock_holder):
    echod.write(drain_timeout="0s")
    script = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"
    pid = lock_holder(sys.executable, "-I", "-S", "-c", script)
    wait_for(lambda: state(pid) == "S", "the program")
    board = plant_scoreboard(echod, pid)
    board.words[scoreboard.STATE], board.words[scoreboard.DRAIN_MS] = scoreboard.DRAINING, scoreboard.NEVER
    for words in (["stop"], ["start"], ["restart", "--timeout", "0.1"]):
        assert f"process {pid} is still there after" in echod.run(*words, check=1).stderr
    echod.run("stop", "--force", check=0)
    assert state(pid) == "Z"
