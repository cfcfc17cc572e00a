from __future__ import annotations

import errno
import os
import resource
import signal
import tempfile

import pytest

from conftest import need_root, wait_for
from echod import scoreboard, session
from echod.children import Children, reason_of
from echod.log import Log
from echod.scoreboard import Scoreboard
from echod.session import Limits
from echod.signals import SignalPipe
from echod.sinks import Stderr
from pieces import NOBODY, isolated, settings, state, tcp_pair


@pytest.fixture
def children():
    """Return a table of children, with a board of their own."""
    with tempfile.TemporaryFile() as file:
        yield Children(Scoreboard(file.fileno()), Limits(None, 5.0))


LOG = Log(settings(), Stderr())
PEER = ("127.0.0.1", "127.0.0.1:7")


def spawn(children):
    """Spawn a child, with a server's signals, and return the client's end of its connection."""
    ours, theirs = tcp_pair()
    children.spawn(theirs.detach(), *PEER, LOG)
    return ours


def reap_all(children):
    """Reap until the table is empty and return the reasons."""
    reasons: list[str] = []

    def empty():
        reasons.extend(reason for _, _, reason in children.reap())
        return not children.table

    wait_for(empty, "all children to be reaped")
    return reasons


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (session.EOF << 8, "eof"),
        (session.CRASHED << 8, "error=CRASHED"),
        (session.RESET << 8, "reset"),
        (session.IDLE << 8, "idle"),
        (session.LIFETIME << 8, "lifetime"),
        (session.DRAIN << 8, "drain"),
        ((session.ERRNO + errno.ETIMEDOUT) << 8, "error=ETIMEDOUT"),
        ((session.ERRNO + 190) << 8, "error=190"),
        (signal.SIGKILL, "signal=SIGKILL"),
        (signal.SIGSEGV | 0x80, "signal=SIGSEGV"),
    ],
)
def test_the_wait_status_tells_how_a_session_ended(status, reason):
    assert reason_of(status) == reason


def test_a_child_echoes_and_is_reaped(children):
    def check():
        SignalPipe()
        client = spawn(children)
        ((pid, child),) = children.table.items()
        assert (child.host, child.peer) == PEER
        assert [entry[:2] for entry in children.board.clients()] == [(pid, PEER[1])]
        client.sendall(b"hello")
        assert client.recv(10) == b"hello"
        assert list(children.reap()) == []
        client.close()
        assert reap_all(children) == ["eof"]
        assert children.board.release(child.slot)[:2] == (5, 5)

    isolated(check)


def test_the_parent_closes_its_end_and_the_child_all_but_its_own():
    def check():
        with tempfile.TemporaryFile() as file:
            children = Children(Scoreboard(file.fileno()), Limits(None, 5.0))
            pipe = SignalPipe()
            ours, theirs = tcp_pair()
            fd = theirs.detach()
            children.spawn(fd, *PEER, LOG)
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(fd)
            (pid,) = children.table
            path = f"/proc/{pid}/fd"
            wait_for(lambda: sorted(map(int, os.listdir(path))) == [0, 1, 2, fd], f"{os.listdir(path)} to be four")
            ours.close()
            reap_all(children)
            os.close(pipe.fd)

    isolated(check)


def test_many_that_die_at_once_are_all_reaped(children):
    def check():
        pipe = SignalPipe()
        clients = [spawn(children) for _ in range(150)]
        pids = list(children.table)
        for pid in pids[::2]:
            os.kill(pid, signal.SIGKILL)
        for client in clients:
            client.close()
        for pid in pids:
            wait_for(lambda pid=pid: state(pid) == "Z", "all to be dead")
        assert signal.SIGCHLD in pipe.drain()
        reasons = [reason for _, _, reason in children.reap()]  # one call
        assert sorted(reasons) == ["eof"] * 75 + ["signal=SIGKILL"] * 75
        assert children.table == {}
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    isolated(check)


def test_a_child_that_is_not_in_the_table_is_reaped_and_not_reported(children):
    def check():
        SignalPipe()
        stranger = os.fork()
        if stranger == 0:
            os._exit(0)
        client = spawn(children)
        wait_for(lambda: state(stranger) == "Z", "its death")
        assert list(children.reap()) == []
        with pytest.raises(ChildProcessError):
            os.waitpid(stranger, os.WNOHANG)
        client.close()
        assert reap_all(children) == ["eof"]

    isolated(check)


def test_children_can_be_drained_and_killed(children):
    def check():
        SignalPipe()
        clients = [spawn(children) for _ in range(3)]
        children.signal(signal.SIGTERM)
        assert [client.recv(1) for client in clients] == [b""] * 3
        for client in clients:
            client.close()
        assert reap_all(children) == ["drain"] * 3
        clients = [spawn(children) for _ in range(3)]
        children.kill()
        assert reap_all(children) == ["signal=SIGKILL"] * 3

    isolated(check)


def test_signalling_one_that_is_dead_but_not_reaped_does_no_harm(children):
    def check():
        SignalPipe()
        spawn(children).close()
        (pid,) = children.table
        wait_for(lambda: state(pid) == "Z", "its death")
        children.signal(signal.SIGTERM)
        children.kill()
        assert reap_all(children) == ["eof"]

    isolated(check)


def test_a_crash_in_a_child_stays_there(children):
    def check():
        SignalPipe()
        children.limits = None  # what a bug may do
        stderr = os.dup(2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        client = spawn(children)
        os.dup2(stderr, 2)
        assert client.recv(1) == b""
        assert reap_all(children) == ["error=CRASHED"]

    isolated(check)


def test_a_fork_that_fails_costs_that_client_and_nothing_else(children):
    need_root()

    def check():
        SignalPipe()
        os.setresuid(NOBODY, NOBODY, NOBODY)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        before = os.listdir("/proc/self/fd")
        ours, theirs = tcp_pair()
        with pytest.raises(BlockingIOError):
            children.spawn(theirs.detach(), *PEER, LOG)
        assert ours.recv(1) == b""
        ours.close()
        assert os.listdir("/proc/self/fd") == before
        assert children.table == {}
        assert list(children.board.clients()) == []
        assert children.board.words[scoreboard.CLIENTS] == children.board.words[scoreboard.ACCEPTED] == 0
        assert children.board.claim("next") == 0, "its slot is free"
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()

    isolated(check)
