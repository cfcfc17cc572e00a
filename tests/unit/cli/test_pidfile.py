from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import sys
import time
from pathlib import Path

import pytest
from lockfile import AlreadyLocked, NotLocked

from echod.cli.pidfile import RUNNING, STARTING, PidFile
from support.processes import NOBODY, fork, isolated, reap
from support.wait import need_root, wait_for

F_OFD_SETLK = 37  # fcntl(2): an open file description lock


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "echod.pid"


@pytest.fixture
def daemon(path):
    """Return the pid of a process that holds the file as a daemon does: locked, then executed into another image."""
    path.parent.mkdir()

    def become_daemon():
        pid_file = PidFile(str(path))
        pid_file.acquire()
        os.set_inheritable(pid_file.fd, True)
        os.execv(sys.executable, [sys.executable, "-ISc", "import time; time.sleep(600)"])

    pid = fork(become_daemon)
    wait_for(lambda: path.exists() and path.read_text().strip() == str(pid), "the pid in the file")
    wait_for(lambda: b"time.sleep" in Path(f"/proc/{pid}/cmdline").read_bytes(), "the other image")
    yield pid
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.fixture
def hold():
    """Return a function that has another process hold a lock on the file, and returns its pid once it does."""
    pids = []

    def hold(path, kind, byte=RUNNING, uid=-1):
        ours, theirs = os.pipe()

        def lock():
            fd = os.open(path, os.O_RDONLY if kind == "read" else os.O_RDWR)
            os.setresuid(uid, uid, uid)
            request = struct.pack(
                "hhqqi4x", fcntl.F_RDLCK if kind == "read" else fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0
            )
            if kind == "flock":
                fcntl.flock(fd, fcntl.LOCK_EX)
            else:
                fcntl.fcntl(fd, F_OFD_SETLK if kind == "ofd" else fcntl.F_SETLK, request)
            os.write(theirs, b"held")
            signal.pause()

        pids.append(fork(lock))
        os.close(theirs)
        with open(ours) as told:
            assert told.read(4) == "held"
        return pids[-1]

    yield hold
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def end(pid):
    os.kill(pid, signal.SIGKILL)
    reap(pid)


def test_the_lock_outlives_an_execve_and_names_its_holder(path, daemon):
    pid_file = PidFile(str(path))
    assert pid_file.holder() == daemon
    assert pid_file.is_locked()
    assert not pid_file.i_am_locking()
    assert pid_file.read_pid() == daemon


def test_the_lock_ends_with_the_process_whatever_is_left_in_the_file(path, daemon):
    end(daemon)
    pid_file = PidFile(str(path))
    assert path.read_text() == f"{daemon}\n"
    assert pid_file.holder() == 0
    assert not pid_file.is_locked()


def test_there_may_be_no_file_and_no_directory(path):
    assert PidFile(str(path)).holder() == 0
    assert PidFile("/dev/null/echod.pid").holder() == 0


@pytest.mark.parametrize("content", ["", "garbage\n", "-1\n", "0\n", "1\n", "{stranger}\n", "9" * 100, "\0" * 1000])
def test_what_the_file_says_is_not_believed(path, content):
    path.parent.mkdir()
    path.write_text(content.format(stranger=os.getppid()))
    assert PidFile(str(path)).holder() == 0

    def acquire():
        pid_file = PidFile(str(path))
        with pid_file.start():
            assert pid_file.holder() == 0
            pid_file.acquire()
            assert path.read_text() == f"{os.getpid()}\n"

    isolated(acquire)


def test_what_is_written_while_the_daemon_runs_is_not_believed_either(path, daemon):
    path.write_text("1\n")
    assert PidFile(str(path)).holder() == daemon


@pytest.mark.parametrize(("kind", "holder"), [("ofd", -1), ("flock", 0), ("read", 0)])
def test_a_lock_of_another_kind_never_names_a_process(path, hold, kind, holder):
    path.parent.mkdir()
    path.write_text("")
    hold(path, kind)
    assert PidFile(str(path)).holder() == holder


def test_who_may_only_read_the_file_is_never_taken_for_the_daemon(path, hold):
    need_root()
    path.parent.mkdir()
    path.write_text("")
    hold(path, "read", RUNNING, NOBODY)
    assert PidFile(str(path)).holder() == 0


def test_two_cannot_hold_it(path, daemon):
    with pytest.raises(AlreadyLocked, match=rf"^{path}: locked by process {daemon}$"):
        PidFile(str(path)).acquire()
    assert path.read_text() == f"{daemon}\n"
    assert PidFile(str(path)).holder() == daemon


def test_it_is_acquired_and_released_as_lockfile_has_it(path):
    def check():
        path.parent.mkdir()
        pid_file = PidFile(str(path))
        with pytest.raises(NotLocked):
            pid_file.release()
        with pid_file:
            assert pid_file.i_am_locking()
            assert pid_file.is_locked()
            assert pid_file.read_pid() == os.getpid()
        assert not pid_file.i_am_locking()
        assert not path.exists()

    isolated(check)


def test_the_descriptor_is_private_and_clear_of_those_below(path):
    def check():
        path.parent.mkdir()
        pid_file = PidFile(str(path), lowest_fd=40)
        pid_file.acquire()
        assert pid_file.fd >= 40
        assert not os.get_inheritable(pid_file.fd)
        assert path.stat().st_mode & 0o022 == 0

    isolated(check)


def test_only_one_start_is_under_way(path):
    ours, theirs = os.pipe()

    def start(name):
        pid_file = PidFile(str(path))
        with pid_file.start():
            os.write(theirs, b"+")
            if pid_file.holder():
                os.write(theirs, b"r-")
                return
            time.sleep(0.02)  # the others are to meet us here
            os.write(theirs, b"s-")
            pid_file.acquire()
        if pid_file.i_am_locking():
            return
        assert name

    pids = [fork(start, str(number)) for number in range(10)]
    assert [reap(pid) for pid in pids] == [0] * 10
    told = os.read(ours, 1000).decode()
    assert told.count("+") == 10
    assert "++" not in told.replace("r", "").replace("s", "")
    os.close(ours)
    os.close(theirs)


def test_a_start_that_finds_a_daemon_leaves_it_alone(path, daemon):
    pid_file = PidFile(str(path))
    with pid_file.start():
        assert pid_file.holder() == daemon
        assert pid_file.holder(STARTING) == 0, "our own lock is not another's"
    assert path.read_text() == f"{daemon}\n"
    assert PidFile(str(path)).holder() == daemon


def test_a_start_makes_the_directory_and_leaves_no_descriptor(path):
    before = os.listdir("/proc/self/fd")
    with PidFile(str(path)).start():
        assert path.parent.stat().st_mode & 0o777 == (0o755 if os.geteuid() == 0 else 0o700)
    assert os.listdir("/proc/self/fd") == before


def test_a_file_that_is_removed_while_a_start_waits_for_it_is_made_again(path):
    first = PidFile(str(path))
    with first.start():
        waiting = fork(wait_and_start, path)
        wait_for(lambda: f" WRITE {waiting} " in Path("/proc/locks").read_text(), "it to wait")
        first.break_lock()
        assert not path.exists()
    assert reap(waiting) == 0
    assert path.exists()


def wait_and_start(path):
    pid_file = PidFile(str(path))
    with pid_file.start():
        assert os.path.samestat(os.fstat(pid_file.fd), os.stat(path)), "it holds a file that is not there any more"


def test_break_lock_removes_what_a_daemon_has_left(path, daemon):
    end(daemon)
    PidFile(str(path)).break_lock()
    assert not path.exists()
    PidFile(str(path)).break_lock()  # there is nothing to do


def test_break_lock_leaves_the_file_of_a_daemon_and_of_a_start(path, daemon, hold):
    PidFile(str(path)).break_lock()
    assert path.exists()
    end(daemon)
    hold(path, "write", STARTING)
    PidFile(str(path)).break_lock()
    assert path.exists()


def test_break_lock_removes_no_fifo(path):
    path.parent.mkdir()
    os.mkfifo(path)
    with contextlib.suppress(OSError):
        PidFile(str(path)).break_lock()
    assert path.exists()
