from __future__ import annotations

import errno
import os
import re
import resource
import select
import signal
import tempfile

import pytest

from echod.common import reasons, scoreboard
from echod.common.errors import ForkError
from echod.common.reasons import reason_of
from echod.common.scoreboard import Scoreboard
from echod.server.children import BATCH, Children
from echod.server.log.log import Log
from echod.server.log.sinks import File
from echod.server.session import Limits
from echod.server.signals import HANDLED, SignalPipe
from support.processes import NOBODY, isolated, state
from support.sockets import settings, signal_pipe, tcp_pair
from support.wait import need_root, wait_for

ADDRESS = ("127.0.0.1", 7)
PEER = "127.0.0.1:7"


class Family:
    """A table of children with all it needs; `lines` is what was logged."""

    def __init__(self, *overrides):
        self.log = tempfile.NamedTemporaryFile()  # noqa: SIM115 - it goes with the process
        self.board = Scoreboard(os.memfd_create("board"))
        self.signals = signal_pipe()
        self.children = Children(self.board, self.signals, Log(settings(*overrides), File(self.log.name)))
        self.children.set_limits(Limits(None, 5.0))
        self.children.rehearse()
        self.peers: list[str] = []

    def spawn(self):
        """Spawn a child and return the client's end of its connection."""
        ours, theirs = tcp_pair()
        if not self.children.spare:
            self.children.book()
        self.children.spawn(lambda: (theirs.detach(), ADDRESS), 1)
        return ours

    def reap(self):
        """Reap until the table is empty."""

        def empty():
            self.peers += self.children.reap()
            return not self.children.table

        wait_for(empty, "all children to be reaped")

    def lines(self, verb):
        """Return the events that begin with a verb."""
        with open(self.log.name) as file:
            return [line.split("]: ", 1)[1].rstrip() for line in file if f"]: {verb} " in line]

    def reasons(self):
        """Reap, and return the reasons that were logged."""
        self.reap()
        return [line.split("reason=")[1].split()[0] for line in self.lines("close")]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (reasons.EOF << 8, "eof"),
        (reasons.CRASHED << 8, "error=CRASHED"),
        (reasons.RESET << 8, "reset"),
        (reasons.IDLE << 8, "idle"),
        (reasons.LIFETIME << 8, "lifetime"),
        (reasons.DRAIN << 8, "drain"),
        ((reasons.ERRNO + errno.ETIMEDOUT) << 8, "error=ETIMEDOUT"),
        ((reasons.ERRNO + 190) << 8, "error=190"),
        (signal.SIGKILL, "signal=SIGKILL"),
        (signal.SIGSEGV | 0x80, "signal=SIGSEGV"),
    ],
)
def test_the_wait_status_tells_how_a_session_ended(status, reason):
    assert reason_of(status) == reason


def test_a_child_echoes_is_reaped_and_logged():
    def check():
        family = Family()
        client = family.spawn()
        family.children.book()
        ((pid, (_, peer)),) = family.children.table.items()
        assert peer == PEER
        assert [entry[:2] for entry in family.board.clients()] == [(pid, PEER)]
        client.sendall(b"hello")
        assert client.recv(10) == b"hello"
        assert family.children.reap() == []
        client.close()
        family.reap()
        assert family.peers == [PEER]
        (line,) = family.lines("close")
        assert re.fullmatch(rf"close peer={PEER} child={pid} reason=eof in=5 out=5 secs=\d+\.\d{{3}}", line)
        words = family.board.words
        assert [words[scoreboard.ACCEPTED], words[scoreboard.CLOSED]] == [1, 1]

    isolated(check)


def test_the_parent_closes_its_end_and_the_child_all_but_its_own():
    def check():
        family = Family()
        ours, theirs = tcp_pair()
        fd = theirs.detach()
        family.children.spawn(lambda: (fd, ADDRESS), 1)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
        (pid,) = family.children.table
        path = f"/proc/{pid}/fd"
        wait_for(lambda: sorted(map(int, os.listdir(path))) == [0, 1, 2, fd], "all others to be closed")
        ours.close()
        family.reap()

    isolated(check)


def test_many_that_die_at_once_are_all_reaped():
    def check():
        family = Family()
        clients = [family.spawn() for _ in range(150)]
        pids = list(family.children.table)
        for pid in pids[::2]:
            os.kill(pid, signal.SIGKILL)
        for client in clients:
            client.close()
        for pid in pids:
            wait_for(lambda pid=pid: state(pid) == "Z", "all to be dead")
        assert family.children.reap() == [PEER] * 150, "in one call"
        assert family.children.table == {}
        assert sorted(family.reasons()) == ["eof"] * 75 + ["signal=SIGKILL"] * 75
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    isolated(check)


def test_a_crowd_is_let_in_at_once_and_whoever_waits_no_longer_ends_it():
    def check():
        family = Family()
        pairs = [tcp_pair() for _ in range(3)]
        waiting = [theirs for _, theirs in pairs]

        def accept():
            if waiting:
                return waiting.pop(0).detach(), ADDRESS
            raise BlockingIOError

        family.children.spawn(accept, 2)
        assert len(family.children.table) == 2
        with pytest.raises(BlockingIOError):
            family.children.spawn(accept, 2)
        assert len(family.children.table) == 3
        for ours, _ in pairs:
            ours.sendall(b"x")
            assert ours.recv(1) == b"x"
            ours.close()
        assert family.reasons() == ["eof"] * 3

    isolated(check)


def test_there_is_a_spare_slot_for_each_client_until_the_books_are_kept():
    def check():
        family = Family()
        asked, clients = [], []

        def accept():
            asked.append(0)
            ours, theirs = tcp_pair()
            clients.append(ours)
            return theirs.detach(), ADDRESS

        family.children.spawn(accept, BATCH + 5)
        family.children.spawn(accept, 1)
        assert len(asked) == len(family.children.table) == BATCH
        family.children.book()
        family.children.spawn(accept, 1)
        assert len({slot for slot, _ in family.children.table.values()}) == BATCH + 1
        for client in clients:
            client.close()
        family.reap()

    isolated(check)


def test_who_is_turned_away_gets_no_child():
    def check():
        family = Family()
        pairs = [tcp_pair() for _ in range(3)]
        waiting = [theirs for _, theirs in pairs]
        seen = []

        def turn_away(fd, address):
            seen.append(address)
            if len(seen) == 2:
                os.close(fd)
            return len(seen) == 2

        family.children.spawn(lambda: (waiting.pop(0).detach(), ADDRESS), 3, turn_away)
        assert seen == [ADDRESS] * 3
        assert len(family.children.table) == 2
        assert len(family.children.spare) == BATCH - 2
        assert pairs[1][0].recv(1) == b""
        for ours, _ in pairs:
            ours.close()
        assert family.reasons() == ["eof"] * 2

    isolated(check)


def test_while_clients_come_their_deaths_make_no_noise_and_are_not_missed():
    def check():
        family = Family()
        client = family.spawn()
        assert not family.signals.heeded
        (pid,) = family.children.table
        client.close()
        wait_for(lambda: state(pid) == "Z", "its death")
        assert not family.signals.dead
        assert not select.select([family.signals.fd], [], [], 0)[0]
        assert family.reasons() == ["eof"]
        client = family.spawn()
        (pid,) = family.children.table
        family.signals.heed(deaths=True)
        client.close()
        wait_for(lambda: family.signals.dead, "SIGCHLD")
        assert family.reasons() == ["eof"] * 2

    isolated(check)


def test_a_child_that_is_not_in_the_table_is_reaped_and_not_reported():
    def check():
        family = Family()
        stranger = os.fork()
        if stranger == 0:
            os._exit(0)
        client = family.spawn()
        wait_for(lambda: state(stranger) == "Z", "its death")
        assert family.children.reap() == []
        with pytest.raises(ChildProcessError):
            os.waitpid(stranger, os.WNOHANG)
        client.close()
        assert family.reasons() == ["eof"]

    isolated(check)


def test_children_can_be_drained_and_killed():
    def check():
        family = Family()
        clients = [family.spawn() for _ in range(3)]
        for client in clients:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        family.children.send(signal.SIGTERM)
        assert [client.recv(1) for client in clients] == [b""] * 3
        for client in clients:
            client.close()
        assert family.reasons() == ["drain"] * 3
        clients = [family.spawn() for _ in range(3)]
        family.children.kill()
        assert family.reasons()[3:] == ["signal=SIGKILL"] * 3

    isolated(check)


def test_a_child_that_is_drained_as_soon_as_it_is_there_ends_and_crashes_never():
    def check():
        family = Family()
        for _ in range(200):
            client = family.spawn()
            family.children.send(signal.SIGTERM)
            while not select.select([client], [], [], 0.001)[0]:
                family.children.send(signal.SIGTERM)
            assert client.recv(1) == b""
            client.close()
        assert set(family.reasons()) <= {"drain", "eof"}

    isolated(check)


def test_signalling_one_that_is_dead_but_not_reaped_does_no_harm():
    def check():
        family = Family()
        family.spawn().close()
        (pid,) = family.children.table
        wait_for(lambda: state(pid) == "Z", "its death")
        family.children.send(signal.SIGTERM)
        family.children.kill()
        assert family.reasons() == ["eof"]

    isolated(check)


def test_a_signal_during_a_rehearsal_is_the_daemons():
    def check():
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        signals = SignalPipe()
        before = Children._serve
        sent: list[int] = []

        def interrupted(self, *args):
            if not sent:
                sent.extend([signal.SIGTERM, signal.SIGCHLD])
                for signum in sent:
                    os.kill(os.getpid(), signum)
            return before(self, *args)

        Children._serve = interrupted  # type: ignore[method-assign]
        with tempfile.TemporaryFile() as board, tempfile.NamedTemporaryFile() as log:
            children = Children(Scoreboard(board.fileno()), signals, Log(settings(), File(log.name)))
            children.set_limits(Limits(None, 5.0))
            children.rehearse()
            signals.open()
        assert signals.session is None
        assert signals.noted == {signal.SIGTERM}
        assert signals.dead
        assert children._session.ended == 0

    isolated(check)


def test_a_rehearsal_leaves_nothing_behind_and_has_no_lifetime():
    def check():
        family = Family("log_level=debug")
        top, fds = family.board.words[scoreboard.TOP], os.listdir("/proc/self/fd")
        for _ in range(3):
            family.children.set_limits(Limits(0.001, 5.0))
        family.children.rehearse()
        assert family.board.words[scoreboard.TOP] == top
        slot = family.children.spare[0]
        assert family.board.words[slot : slot + scoreboard.NEXT].tolist() == [0] * scoreboard.NEXT
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0), "a timer would wake the daemon"
        assert os.listdir("/proc/self/fd") == fds
        assert os.path.getsize(family.log.name) == 0, "nothing has happened to a client"
        client = family.spawn()
        assert client.recv(1) == b""
        client.close()
        assert family.reasons() == ["lifetime"]

    isolated(check)


def test_a_crash_in_a_child_stays_there():
    def check():
        family = Family()
        family.children._session = None  # type: ignore[assignment]  # what a bug may do
        stderr = os.dup(2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        client = family.spawn()
        os.dup2(stderr, 2)
        assert client.recv(1) == b""
        assert family.reasons() == ["error=CRASHED"]

    isolated(check)


def test_a_fork_that_fails_costs_that_client_and_nothing_else():
    need_root()

    def check():
        family = Family()
        os.setresuid(NOBODY, NOBODY, NOBODY)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        before = os.listdir("/proc/self/fd")
        ours, theirs = tcp_pair()
        with pytest.raises(ForkError, match="temporarily unavailable") as failure:
            family.children.spawn(lambda: (theirs.detach(), ADDRESS), 1)
        assert failure.value.peer == ADDRESS
        assert ours.recv(1) == b""
        ours.close()
        assert os.listdir("/proc/self/fd") == before
        assert family.children.table == {}
        assert list(family.board.clients()) == []
        words = family.board.words
        assert words[scoreboard.ACCEPTED] == words[scoreboard.CLOSED] == 0
        assert len(set(family.children.spare)) == BATCH, "its slot is free"
        os.kill(os.getpid(), signal.SIGHUP)
        assert family.signals.noted == {signal.SIGHUP}
        assert os.read(family.signals.fd, 1) == bytes([signal.SIGHUP]), "the pipe is taken again"

    isolated(check)
