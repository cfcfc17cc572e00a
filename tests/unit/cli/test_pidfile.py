from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import struct
import sys
import time
from pathlib import Path

import pytest
from lockfile import AlreadyLocked, LockFailed, NotLocked

from echod.cli.locks import RUNNING_BYTE
from echod.cli.pidfile import STARTING_BYTE, PidFile
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

    def hold(path, kind, byte=RUNNING_BYTE, uid=-1):
        read_end, write_end = os.pipe()

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
            os.write(write_end, b"held")
            signal.pause()

        pids.append(fork(lock))
        os.close(write_end)
        with open(read_end) as found:
            assert found.read(4) == "held"
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
    assert not pid_file.i_am_locking()
    assert pid_file.read_pid() == daemon


def test_the_lock_ends_with_the_process_whatever_is_left_in_the_file(path, daemon):
    end(daemon)
    pid_file = PidFile(str(path))
    assert path.read_text() == f"{daemon}\n"
    assert pid_file.holder() == 0


def test_there_may_be_no_file_and_no_directory(path):
    assert PidFile(str(path)).holder() == 0
    assert PidFile("/dev/null/echod.pid").holder() == 0


@pytest.mark.parametrize("content", ["", "garbage\n", "-1\n", "0\n", "1\n", "{unrelated}\n", "9" * 100, "\0" * 1000])
def test_what_the_file_says_is_not_believed(path, content):
    path.parent.mkdir()
    path.write_text(content.format(unrelated=os.getppid()))
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
    hold(path, "read", RUNNING_BYTE, NOBODY)
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
    read_end, write_end = os.pipe()

    def start(name):
        pid_file = PidFile(str(path))
        with pid_file.start() as running:
            if running:
                os.write(write_end, b"r")
                return
            os.write(write_end, b"+")
            time.sleep(0.02)  # the others are to meet us here
            os.write(write_end, b"-")
            pid_file.acquire()
        if pid_file.i_am_locking():
            return
        assert name

    pids = [fork(start, str(number)) for number in range(10)]
    assert [reap(pid) for pid in pids] == [0] * 10
    found = os.read(read_end, 1000).decode()
    assert found.count("r") + found.count("+") == 10
    assert found.replace("r", "").replace("+-", "") == "", found
    os.close(read_end)
    os.close(write_end)


def test_a_start_that_finds_a_daemon_leaves_it_alone(path, daemon):
    pid_file = PidFile(str(path))
    with pid_file.start() as running:
        assert running == daemon
        assert pid_file.holder() == daemon
        assert pid_file.holder(STARTING_BYTE) == 0, "our own lock is not another's"
    assert path.read_text() == f"{daemon}\n"
    assert PidFile(str(path)).holder() == daemon


def test_a_start_makes_the_directory_and_leaves_no_descriptor(path):
    before = os.listdir("/proc/self/fd")
    with PidFile(str(path)).start():
        assert path.parent.stat().st_mode & 0o777 == (0o755 if os.geteuid() == 0 else 0o700)
    assert os.listdir("/proc/self/fd") == before


def test_a_file_that_is_removed_while_a_start_waits_for_it_is_made_again(path):
    read_end, write_end = os.pipe()
    first = PidFile(str(path))
    with first.start():
        waiting = fork(wait_and_start, path, write_end)
        assert os.read(read_end, 7) == b"waiting"
        first.break_lock()
        assert not path.exists()
    assert reap(waiting) == 0
    assert path.exists()
    os.close(read_end)
    os.close(write_end)


def wait_and_start(path, write_end):
    class Waiting(PidFile):
        def _close(self):
            os.write(write_end, b"waiting")
            super()._close()

    pid_file = Waiting(str(path))
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
    hold(path, "write", STARTING_BYTE)
    PidFile(str(path)).break_lock()
    assert path.exists()


def test_break_lock_removes_no_fifo(path):
    path.parent.mkdir()
    os.mkfifo(path)
    with contextlib.suppress(OSError):
        PidFile(str(path)).break_lock()
    assert path.exists()


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory", "device"])
def test_what_is_no_regular_file_is_refused(path, kind):
    path.parent.mkdir()
    target = path.parent / "target"
    target.write_text("precious")
    if kind == "symlink":
        path.symlink_to(target)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path = "/dev/null"
    before = os.listdir("/proc/self/fd")
    with pytest.raises(LockFailed, match=rf"^{path}: "), PidFile(str(path)).start():
        pass
    with pytest.raises(LockFailed, match=rf"^{path}: "):
        PidFile(str(path)).acquire()
    assert target.read_text() == "precious"
    assert os.listdir("/proc/self/fd") == before


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LockFailed, match=r"Not a directory|File exists"), PidFile(f"{tmp_path}/file/x/e.pid").start():
        pass


def test_other_users_can_neither_lock_nor_start(path, tmp_path):
    need_root()
    path.parent.mkdir()
    path.write_text("")
    tmp_path.chmod(0o755)

    def check():
        os.chdir(tmp_path)  # the way to it may be closed
        os.setresuid(NOBODY, NOBODY, NOBODY)
        for attempt in (PidFile("run/echod.pid").acquire, PidFile("run/echod.pid").start().__enter__):
            with pytest.raises(LockFailed, match="Permission denied") as caught:
                attempt()
            assert isinstance(caught.value.__cause__, PermissionError)
        with pytest.raises(PermissionError):
            PidFile("run/echod.pid").break_lock()
        assert PidFile("run/echod.pid").holder() == 0

    isolated(check)
    assert path.exists()


def test_errors_keep_their_cause(path):
    path.parent.mkdir()
    path.mkdir()
    with pytest.raises(LockFailed) as caught:
        PidFile(str(path)).acquire()
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EISDIR


def test_break_lock_leaves_a_successors_scoreboard(path, daemon, hold):
    board = path.with_name("board")
    board.write_text("")
    PidFile(str(path)).break_lock(str(board))
    assert board.exists()
    end(daemon)
    hold(path, "write", STARTING_BYTE)
    PidFile(str(path)).break_lock(str(board))
    assert board.exists()


def test_break_lock_removes_the_scoreboard_too(path, daemon):
    board = path.with_name("board")
    board.write_text("")
    end(daemon)
    PidFile(str(path)).break_lock(str(board))
    assert list(path.parent.iterdir()) == []


def test_a_start_makes_a_new_file_that_only_its_user_can_open_until_it_is_locked(path):
    def check():
        path.parent.mkdir()
        path.write_text("4711\n")
        before = path.stat().st_ino, os.open(path, os.O_RDONLY)
        pid_file = PidFile(str(path))
        with pid_file.start():
            assert path.stat().st_ino != before[0]
            assert path.stat().st_mode & 0o777 == 0o600
            pid_file.acquire()
            assert path.stat().st_mode & 0o777 == 0o644

    isolated(check)
