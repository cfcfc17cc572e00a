"""Somebody who may read the pid file holds read locks on it (fcntl(2)), or an flock(2), for good."""

from __future__ import annotations

import fcntl
import os
import signal

import pytest

from support.processes import fork, reap
from support.wait import alive, need_root

GAMES = 5


@pytest.fixture
def lock():
    """Return a function that has a third user lock the file as far as its right to read goes."""
    need_root()
    pids = []

    def lock(path):
        read_end, write_end = os.pipe()

        def hold():
            os.setgroups([])
            os.setresuid(GAMES, GAMES, GAMES)
            fd = os.open(path, os.O_RDONLY)
            for byte in (0, 1, 2):
                try:
                    fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, byte)
                except BlockingIOError:
                    continue  # the daemon's
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.write(write_end, b"held")
            signal.pause()

        pids.append(fork(hold))
        os.close(write_end)
        with open(read_end) as reply:
            assert reply.read(4) == "held"

    yield lock
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        reap(pid)


@pytest.mark.parametrize("content", ["", "1\n"])
def test_start_does_not_wait_for_them(echod, lock, content):
    echod.pid_file.write_text(content)
    echod.pid_file.chmod(0o644)
    lock(echod.pid_file)
    assert echod.run("status").returncode == (1 if content else 3)
    echod.run("start", check=0)
    assert echod.status()["pid"] == echod.pid


def test_commands_find_the_daemon(running, lock):
    pid = running.pid
    lock(running.pid_file)
    assert str(pid) in running.run("start", check=0).stdout
    running.run("reload", check=0)
    running.run("restart", check=0)
    assert running.pid != pid
    assert not alive(pid)
    lock(running.pid_file)
    running.run("stop", check=0)
    assert not running.pid_file.exists()


def test_what_was_left_is_removed(running, lock):
    pid = running.pid
    os.kill(pid, signal.SIGKILL)
    lock(running.pid_file)
    running.run("stop", check=0)
    assert not running.pid_file.exists()
