from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys

import psutil
import pytest

from echod.cli import daemon as module
from echod.cli import proc
from echod.cli.context import board_path
from echod.cli.daemon import RELOAD, REOPEN, Daemon
from echod.cli.pidfile import PidFile
from echod.common import scoreboard
from echod.common.errors import FAILED, NOT_PERMITTED, NOT_RUNNING, EchodError
from support.board import new_board
from support.processes import NOBODY, fork, isolated, reap, state
from support.wait import need_root, wait_for


class Stub:
    """A process that holds the pid file as a daemon does, with a scoreboard, and does nothing of its own."""

    def __init__(self, path, answer=None):
        self.path = str(path)
        self.board = new_board(board_path(self.path))
        self.read_end, write_end = os.pipe()

        def held():
            pid_file = PidFile(self.path)
            pid_file.acquire()
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP, signal.SIGUSR1])
            self.board.words[scoreboard.PID] = os.getpid()
            os.write(write_end, b"held")
            while signum := signal.sigwait([signal.SIGHUP, signal.SIGUSR1]):
                if answer:
                    answer(self.board, signum)

        self.pid = fork(held)
        os.close(write_end)
        assert os.read(self.read_end, 4) == b"held"

    def close(self):
        os.close(self.read_end)
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@pytest.fixture
def stub(tmp_path):
    """Return a function that makes a `Stub`."""
    made = []

    def stub(answer=None):
        made.append(Stub(tmp_path / "echod.pid", answer))
        return made[-1]

    yield stub
    for one in made:
        one.close()


def find(tmp_path):
    found = Daemon.find(PidFile(str(tmp_path / "echod.pid")))
    assert found is not None
    return found


def complaint(function, *args):
    with pytest.raises(EchodError) as caught:
        function(*args)
    return str(caught.value), caught.value.code


def test_the_daemon_is_who_holds_the_lock(tmp_path, stub):
    one = stub()
    (tmp_path / "echod.pid").write_text(f"{os.getpid()}\n")  # whatever the file says
    with find(tmp_path) as daemon:
        assert daemon.pid == one.pid


@pytest.mark.parametrize("content", [None, "", "1\n", "garbage", "{unrelated}\n"])
def test_without_a_lock_there_is_no_daemon(tmp_path, content):
    if content is not None:
        (tmp_path / "echod.pid").write_text(content.format(unrelated=os.getppid()))
    gc.collect()  # of what other tests have read
    before = os.listdir("/proc/self/fd")
    assert Daemon.find(PidFile(str(tmp_path / "echod.pid"))) is None
    assert os.listdir("/proc/self/fd") == before


def test_a_lock_without_an_owner_is_nobody_to_signal(tmp_path):
    class Unknown(PidFile):
        def holder(self, _byte=0):
            return -1

    message, code = complaint(Daemon.find, Unknown(str(tmp_path / "echod.pid")))
    assert "is locked by a process that is not visible from here" in message
    assert code == FAILED


def test_a_holder_that_ends_meanwhile_is_not_the_daemon(tmp_path):
    class Changing(PidFile):
        answers = iter((os.getppid(), 0, 0))

        def holder(self, _byte=0):
            return next(self.answers)

    gc.collect()  # of what other tests have read
    before = os.listdir("/proc/self/fd")
    assert Daemon.find(Changing(str(tmp_path / "echod.pid"))) is None
    assert os.listdir("/proc/self/fd") == before


def test_a_file_that_may_not_be_read_is_not_permitted(tmp_path):
    need_root()
    (tmp_path / "echod.pid").write_text("")
    (tmp_path / "echod.pid").chmod(0o600)
    tmp_path.chmod(0o755)

    def check():
        os.chdir(tmp_path)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        message, code = complaint(Daemon.find, PidFile("echod.pid"))
        assert message == "cannot tell whether echod runs: echod.pid: Permission denied"
        assert code == NOT_PERMITTED

    isolated(check)


def test_a_signal_reaches_the_daemon_and_its_end_can_be_awaited(tmp_path, stub):
    one = stub()
    with find(tmp_path) as daemon:
        assert not daemon.wait(0)
        daemon.send(signal.SIGTERM)
        assert daemon.wait(20)
        daemon.send(signal.SIGTERM)  # it is gone: nothing happens
    assert reap(one.pid) == -signal.SIGTERM
    assert Daemon.find(PidFile(str(tmp_path / "echod.pid"))) is None


def test_a_signal_to_another_users_daemon_is_not_permitted(tmp_path, stub):
    need_root()
    one = stub()
    tmp_path.chmod(0o755)

    def check():
        os.chdir(tmp_path)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        with find(tmp_path.__class__(".")) as daemon:
            message, code = complaint(daemon.send, signal.SIGTERM)
        assert message == f"cannot signal process {one.pid}: it is another user's; be root or that user"
        assert code == NOT_PERMITTED

    isolated(check)
    assert state(one.pid) != "Z"


def test_the_scoreboard_can_be_read(tmp_path, stub):
    stub().board.words[scoreboard.ACCEPTED] = 42
    with find(tmp_path) as daemon:
        assert daemon.board().words[scoreboard.ACCEPTED] == 42


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "runs, but its scoreboard cannot be read: "),
        (b"", "is not a scoreboard"),
        (b"x" * 100, "is not a scoreboard"),
        (bytes(scoreboard.SIZE), "is the scoreboard of another version of echod; restart the daemon"),
    ],
    ids=["missing", "empty", "short", "zeros"],  # the bytes themselves would be part of the test's name
)
def test_a_scoreboard_that_is_none_is_an_error(tmp_path, stub, content, message):
    stub()
    path = tmp_path / "echod.pid.scoreboard"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with find(tmp_path) as daemon:
        gc.collect()  # of what other tests have read
        before = os.listdir("/proc/self/fd")
        message_, code = complaint(daemon.board)
        gc.collect()
        assert os.listdir("/proc/self/fd") == before
    assert message in message_
    assert code == FAILED


def reloaded(board, _signum):
    board.words[scoreboard.RELOADS_BEGUN] += 1
    board.set_texts(last_reload="a reason", changes=["one: a\tb -> c", "two: d\ne -> f"])
    board.words[scoreboard.RELOAD_CODE] = 6
    board.words[scoreboard.RELOADS_DONE] = board.words[scoreboard.RELOADS_BEGUN]


def test_the_outcome_of_a_request_is_told(tmp_path, stub):
    stub(reloaded)
    with find(tmp_path) as daemon:
        for _ in range(3):
            code, copy = daemon.ask(*RELOAD)
            assert (code, copy.texts()["last_reload"]) == (6, "a reason")
            assert copy.changes() == ["one: a\tb -> c", "two: d\ne -> f"]


def test_a_request_under_way_is_not_taken_for_ours(tmp_path, stub):
    one = stub(reloaded)
    one.board.words[scoreboard.RELOADS_BEGUN] = 7  # begun before our signal, and done after it
    one.board.words[scoreboard.RELOADS_DONE] = 6
    with find(tmp_path) as daemon:
        daemon.ask(*RELOAD)
    assert one.board.words[scoreboard.RELOADS_DONE] == 8


def test_a_daemon_that_ends_in_place_of_an_answer_is_told(tmp_path, stub):
    one = stub(lambda *_: os._exit(0))
    with find(tmp_path) as daemon:
        message, code = complaint(lambda: daemon.ask(*RELOAD))
    assert message == f"process {one.pid} ended instead; its log may say why"
    assert code == NOT_RUNNING


def test_a_daemon_that_does_not_answer_is_told(tmp_path, stub, monkeypatch):
    monkeypatch.setattr(module, "REPLY_S", 0.05)
    one = stub()
    with find(tmp_path) as daemon:
        message, code = complaint(lambda: daemon.ask(*REOPEN))
    assert message.startswith(f"process {one.pid} did not answer within ")
    assert code == FAILED


def test_force_ends_the_daemon_and_its_children_and_nobody_else(tmp_path):
    script = "import os, time; os.fork() and os.fork(); time.sleep(600)"
    bystander = os.fork()
    if bystander == 0:
        signal.pause()
        os._exit(0)
    read_end, write_end = os.pipe()

    def daemon():
        pid_file = PidFile(str(tmp_path / "echod.pid"))
        pid_file.acquire()
        for fd in (pid_file.fd, write_end):
            os.set_inheritable(fd, True)
        os.execv(sys.executable, [sys.executable, "-ISc", script])

    pid = fork(daemon)
    os.close(write_end)
    wait_for(lambda: len(psutil.Process(pid).children()) == 2, "its children")
    with find(tmp_path) as found:
        found.kill()
        assert found.wait(20)
    assert reap(pid) == -signal.SIGKILL
    assert os.read(read_end, 1) == b"", "a child lives"
    os.close(read_end)
    assert state(bystander) == "S"
    os.kill(bystander, signal.SIGKILL)
    os.waitpid(bystander, 0)


def test_a_scoreboard_of_the_next_daemon_means_that_this_one_has_ended(tmp_path, stub):
    one = stub()
    with find(tmp_path) as daemon:
        for words in ({scoreboard.PID: 1}, {scoreboard.MAGIC: 0}):
            for word, value in words.items():
                one.board.words[word] = value
        os.kill(one.pid, signal.SIGKILL)
        message, code = complaint(daemon.board)
    assert message == f"process {one.pid} has just ended"
    assert code == NOT_RUNNING
    reap(one.pid)


def test_only_a_server_of_this_pid_file_is_one(tmp_path, stub, monkeypatch):
    one = stub()
    path = f"{tmp_path}/echod.pid"
    genuine = [*module.INTERPRETER, module.BOOT, "uid=1", f"pid_file={path}", ""]
    exe = os.path.realpath(sys.executable)

    def is_server(words=genuine, exe=exe, uids="5\t5\t5\t5"):
        monkeypatch.setattr(proc, "command_line", lambda _pid: words)
        monkeypatch.setattr(proc, "link", lambda _pid, _name: exe)
        monkeypatch.setattr(proc, "status", lambda _pid: {"Uid": uids})
        return daemon._is_server()

    with find(tmp_path) as daemon:
        assert daemon.pid == one.pid
        assert is_server()
        assert is_server(exe=f"{exe} (deleted)"), "an upgrade of the interpreter"
        for words in (genuine[:-2], [*genuine[:3], "/tmp/boot.py", *genuine[4:]], ["sudo", *genuine], [], [""]):
            assert not is_server(words)
        assert not is_server(uids="5\t0\t0\t0")
        assert not is_server(exe="/usr/bin/sudo")


@pytest.mark.parametrize("listens", [True, False])
def test_the_kernel_says_whether_a_process_listens(tmp_path, stub, listens):
    with socket.socket() as sock:
        if listens:
            sock.bind(("127.0.0.1", 0))
            sock.listen()
        stub()
        with find(tmp_path) as daemon:
            assert daemon.listens() == listens
