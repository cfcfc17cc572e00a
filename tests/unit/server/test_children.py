from __future__ import annotations

import errno
import os
import re
import resource
import select
import signal

import pytest

from echod.common import scoreboard
from echod.server import children as module
from echod.server.buffer import POLLER
from echod.server.children import EXITED, RECORDED, SPAWNED, Children
from echod.server.descriptors import highest_fd
from echod.server.session import Session
from echod.server.signals import HANDLED, SignalPipe
from support.processes import NOBODY, isolated, state
from support.sockets import NEVER, make_board, memory_log, settings, signal_pipe, tcp_pair
from support.wait import need_root, wait_for

ADDRESS = ("127.0.0.1", 7)
PEER = "127.0.0.1:7"


class Family:
    """A table of children with all it needs; `lines` is what was logged."""

    def __init__(self, *overrides):
        self.board = make_board(1024)
        self.reader = scoreboard.Scoreboard(self.board.fd)
        self.log, self.lines = memory_log(*overrides)
        self.signals = signal_pipe()
        self.children = Children(self.board, self.signals, settings("idle_timeout=never"), self.log)
        self.children.set_highest_fd(highest_fd())
        self.addresses: list[tuple] = []

    def configure(self, *overrides):
        """Put settings in force, as a reload does."""
        self.children.configure(settings("idle_timeout=never", *overrides), self.log)

    def spawn(self, address=ADDRESS):
        """Spawn a child and return the client's end of its connection."""
        client, conn = tcp_pair()
        self.children.set_highest_fd(highest_fd())
        self.children.begin_burst()
        self.children.spawn(conn.fileno(), address)
        conn.close()
        return client

    def only(self):
        """Return the pid of the only child."""
        (pid,) = self.children.table
        return pid

    def reap(self):
        """Reap until the table is empty."""

        def empty():
            self.addresses += self.children.reap()
            return not self.children.table

        wait_for(empty, "all children to be reaped")

    def reasons(self):
        """Reap, and return the reasons that were logged."""
        self.reap()
        return [line.split("reason=")[1].split()[0] for line in self.lines.events("close")]

    def words(self, *words):
        return [self.reader.words[word] for word in words]


def exited(*pids):
    """Wait until these children have exited; they are not reaped."""
    for pid in pids:
        wait_for(lambda pid=pid: state(pid) == "Z", "a child to exit")


COUNTED = (scoreboard.ACCEPTED, scoreboard.CLOSED, scoreboard.PEAK)


def test_a_child_is_spawned_then_recorded_then_exited():
    def check():
        family = Family()
        client = family.spawn()
        ((pid, child),) = family.children.table.items()
        assert (child.state, child.address, child.peer) == (SPAWNED, ADDRESS, "")
        assert family.reader.copy().clients() == []
        assert family.children.reap() == []
        assert (child.state, child.peer) == (RECORDED, PEER)
        assert [entry[:2] for entry in family.reader.copy().clients()] == [(pid, PEER)]
        assert family.words(*COUNTED) == [1, 0, 1]
        client.sendall(b"hello")
        assert client.recv(10) == b"hello"
        client.close()
        exited(pid)
        assert family.children.reap() == [ADDRESS]
        assert child.state == EXITED
        assert family.children.table == {}
        assert family.reader.copy().clients() == []
        (line,) = family.lines.texts
        assert re.fullmatch(rf"close peer={PEER} child={pid} reason=eof in=5 out=5 secs=\d+\.\d{{3}}", line)
        assert family.words(*COUNTED) == [1, 1, 1]

    isolated(check)


def test_only_those_not_yet_recorded_are_recorded():
    def check():
        family = Family()
        clients = [family.spawn(("192.0.2.1", number)) for number in range(3)]
        family.children.reap()
        clients += [family.spawn(("192.0.2.1", number)) for number in range(3, 5)]
        assert [child.state for child in family.children.table.values()] == [RECORDED] * 3 + [SPAWNED] * 2
        family.children.reap()
        assert family.words(*COUNTED) == [5, 0, 5]
        peers = sorted(entry[1] for entry in family.reader.copy().clients())
        assert peers == [f"192.0.2.1:{number}" for number in range(5)]
        for client in clients:
            client.close()
        assert family.reasons() == ["eof"] * 5

    isolated(check)


def test_the_caller_closes_the_connection_and_the_child_all_but_its_own():
    def check():
        family = Family()
        client, conn = tcp_pair()
        fd = conn.fileno()
        os.dup2(0, highest_fd() - 1)
        family.children.set_highest_fd(highest_fd())
        family.children.spawn(fd, ADDRESS)
        os.fstat(fd)  # the caller's, still
        conn.close()
        path = f"/proc/{family.only()}/fd"
        wait_for(lambda: sorted(map(int, os.listdir(path))) == [0, 1, 2, fd], "all others to be closed")
        client.close()
        family.reap()

    isolated(check)


def test_many_that_exit_at_once_are_all_reaped():
    def check():
        family = Family()
        clients = [family.spawn() for _ in range(150)]
        pids = list(family.children.table)
        for pid in pids[::2]:
            os.kill(pid, signal.SIGKILL)
        for client in clients:
            client.close()
        exited(*pids)
        assert family.children.reap() == [ADDRESS] * 150, "in one call"
        assert family.children.table == {}
        assert sorted(family.reasons()) == ["eof"] * 75 + ["signal=SIGKILL"] * 75
        ends = family.reader.copy().ends()
        assert (ends["eof"], ends["signal"], sum(ends.values())) == (75, 75, 150)
        assert family.words(scoreboard.ACCEPTED, scoreboard.CLOSED) == [150, 150]
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    isolated(check)


def test_clients_one_after_another_were_never_two_at_once():
    def check():
        family = Family()
        for _ in range(20):  # recorded and reaped together, as in a burst
            family.spawn().close()
            exited(list(family.children.table)[-1])
        assert family.reasons() == ["eof"] * 20
        assert family.words(*COUNTED) == [20, 20, 1]

    isolated(check)


def test_the_peak_is_how_many_were_there_at_once():
    def check():
        family = Family()
        clients = [family.spawn() for _ in range(5)]
        for client in clients:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        for client in clients:
            client.close()
        exited(*family.children.table)
        family.reap()
        assert family.words(*COUNTED) == [5, 5, 5], "though none was there when they were recorded"
        family.spawn().close()
        family.reap()
        assert family.words(*COUNTED) == [6, 6, 5]

    isolated(check)


def test_while_clients_come_sigchld_is_not_caught_and_nobody_is_missed():
    def check():
        family = Family()
        client = family.spawn()
        assert not family.signals.waking
        assert family.children.may_have_exited
        client.close()
        exited(family.only())
        assert not family.signals.pending
        assert not select.select([family.signals.fd], [], [], 0)[0]
        assert family.reasons() == ["eof"]
        assert not family.children.may_have_exited
        client = family.spawn()
        family.signals.set_waking(True)
        client.close()
        wait_for(lambda: signal.SIGCHLD in family.signals.pending, "SIGCHLD")
        assert family.reasons() == ["eof"] * 2

    isolated(check)


def test_a_child_of_somebody_elses_is_reaped_and_not_reported():
    def check():
        family = Family()
        orphan = os.fork()
        if orphan == 0:
            os._exit(0)
        client = family.spawn()
        exited(orphan)
        assert family.children.reap() == []
        with pytest.raises(ChildProcessError):
            os.waitpid(orphan, os.WNOHANG)
        client.close()
        assert family.reasons() == ["eof"]
        assert family.words(scoreboard.ACCEPTED, scoreboard.CLOSED) == [1, 1]

    isolated(check)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ECHILD])
def test_a_wait_that_fails_is_tried_again(number):
    def check():
        family = Family()
        client = family.spawn()
        client.close()
        exited(family.only())
        calls: list[tuple] = []

        def fail(*args):
            calls.append(args)
            raise OSError(number, os.strerror(number))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "waitpid", fail)
            patch.setattr(module, "os", os)
            assert family.children.reap() == []
        assert family.children.may_have_exited
        assert calls
        assert family.reasons() == ["eof"]
        family.children.may_have_exited = True
        assert family.children.reap() == []
        assert not family.children.may_have_exited, "ECHILD with nobody in the table: there is nobody to wait for"

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
        family.children.send(signal.SIGKILL)
        assert family.reasons()[3:] == ["signal=SIGKILL"] * 3

    isolated(check)


def test_a_child_that_is_drained_as_soon_as_it_is_there_ends_and_crashes_never():
    def check():
        family = Family()
        for _ in range(60):
            client = family.spawn()
            family.children.send(signal.SIGTERM)
            while not select.select([client], [], [], 0.001)[0]:
                family.children.send(signal.SIGTERM)
            assert client.recv(1) == b""
            client.close()
        assert set(family.reasons()) <= {"drain", "eof"}

    isolated(check)


def test_signalling_one_that_has_exited_and_is_not_reaped_does_no_harm():
    def check():
        family = Family()
        family.spawn().close()
        exited(family.only())
        family.children.send(signal.SIGTERM)
        family.children.send(signal.SIGKILL)
        assert family.reasons() == ["eof"]

    isolated(check)


def test_a_signal_during_the_warm_up_is_the_daemons():
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
        children = Children(make_board(), signals, settings(), memory_log()[0])
        children.warm_up()
        signals.open()
        assert signals.session is None
        assert signals.pending == {signal.SIGTERM, signal.SIGCHLD}
        assert children._session.ended == 0

    isolated(check)


def test_the_warm_up_leaves_nothing_behind_and_has_no_lifetime():
    def check():
        family = Family("log_level=debug")
        fds = os.listdir("/proc/self/fd")
        family.configure("max_lifetime=1ms")
        for _ in range(3):
            family.children.warm_up()
        assert family.words(*COUNTED) == [0, 0, 0]
        slots = family.board.words[scoreboard.SLOTS_AT // scoreboard.WORD_SIZE :]
        assert not any(slots)
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0), "a timer would wake the daemon"
        assert os.listdir("/proc/self/fd") == fds
        assert POLLER.poll(0) == [], "a child would take its descriptor for bulk that comes"
        assert family.lines.texts == [], "nothing has happened to a client"
        client = family.spawn()
        assert client.recv(1) == b""
        client.close()
        assert family.reasons() == ["lifetime"]

    isolated(check)


def test_new_limits_are_for_the_children_to_come():
    def check():
        family = Family()
        before = family.spawn()
        family.configure("max_lifetime=50ms")
        after = family.spawn()
        assert after.recv(1) == b""
        after.close()
        before.sendall(b"x")
        assert before.recv(1) == b"x"
        before.close()
        assert sorted(family.reasons()) == ["eof", "lifetime"]

    isolated(check)


@pytest.mark.parametrize("recorded", ["before the header", "after it", "never"])
def test_the_client_that_a_proxy_names_is_the_peer(recorded):
    def check():
        family = Family()
        family.configure("proxy_from=127.0.0.1")
        client = family.spawn()
        if recorded == "before the header":
            family.children.reap()
            assert [entry[1] for entry in family.reader.copy().clients()] == [PEER]
        client.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 51514 7\r\necho")
        assert client.recv(10) == b"echo"
        if recorded != "never":
            family.children.reap()
            assert [entry[1] for entry in family.reader.copy().clients()] == ["192.0.2.7:51514"]
        client.close()
        family.reap()
        assert family.addresses == [ADDRESS]
        (line,) = family.lines.texts
        assert line.startswith("close peer=192.0.2.7:51514 ")

    isolated(check)


def test_a_client_that_its_child_refuses_is_counted_as_refused():
    def check():
        family = Family()
        family.configure("proxy_from=127.0.0.1", "deny=192.0.2.7")
        for header in (b"GET / HTTP/1.1\r\n", b"PROXY TCP4 192.0.2.7 192.0.2.1 51514 7\r\n"):
            client = family.spawn()
            client.sendall(header)
            family.reap()
            client.close()
        assert family.lines.texts == [f"refuse peer={PEER} reason=proxy", "refuse peer=192.0.2.7:51514 reason=access"]
        ends = {reason: count for reason, count in family.reader.copy().ends().items() if count}
        assert ends == {"proxy": 1, "access": 1}
        assert family.words(scoreboard.PROXY, scoreboard.ACCESS, *COUNTED) == [1, 1, 2, 2, 1]

    isolated(check)


def test_a_reload_that_turns_it_on_finds_the_peers_of_those_there_are():
    def check():
        family = Family()
        clients = [family.spawn()]
        family.configure("proxy_from=127.0.0.1")
        clients.append(family.spawn(("192.0.2.1", 8)))
        family.configure()
        family.children.reap()
        assert sorted(entry[1] for entry in family.reader.copy().clients()) == [PEER, "192.0.2.1:8"]
        for client in clients:
            client.close()
        family.reap()

    isolated(check)


class Broken(Session):
    """A session with a bug, in the line after `run`."""

    __slots__ = ()

    def run(self, *args):
        super().run(*args)
        raise ZeroDivisionError


PLACE = Broken.run.__code__.co_firstlineno + 2


@pytest.mark.parametrize("recorded", [True, False])
def test_a_crash_in_a_child_stays_there_and_is_logged_with_its_place(recorded):
    def check():
        family = Family()
        family.children._session = Broken(NEVER)
        client = family.spawn()
        pid = family.only()
        if recorded:
            family.children.reap()
        client.close()
        exited(pid)
        assert family.reasons() == ["error=CRASHED"]
        (line,) = family.lines.events("crash")
        assert line.startswith(f"crash child={pid} at='ZeroDivisionError ")
        assert line.endswith(f"test_children.py:{PLACE}'")
        family.children._session = Session(NEVER)
        family.spawn().close()
        assert family.reasons() == ["error=CRASHED", "eof"]

    isolated(check)


@pytest.mark.parametrize("level", ["error", "warning"])
def test_a_crash_is_logged_at_error(level):
    def check():
        family = Family(f"log_level={level}", "log_clients=no")
        family.children._session = Broken(NEVER)
        client = family.spawn()
        family.children.reap()
        client.close()
        family.reap()
        assert [text.split()[0] for text in family.lines.texts] == ["crash"]

    isolated(check)


def test_without_log_clients_those_are_logged_that_a_signal_or_a_bug_ended():
    def check():
        family = Family("log_clients=no")
        family.spawn().close()
        family.reap()
        assert family.lines.texts == []
        client = family.spawn()
        os.kill(family.only(), signal.SIGKILL)
        client.close()
        assert family.reasons() == ["signal=SIGKILL"]
        family.children._session = Broken(NEVER)
        family.spawn().close()
        assert family.reasons() == ["signal=SIGKILL", "error=CRASHED"]
        assert len(family.lines.events("crash")) == 1

    isolated(check)


def test_a_fork_that_fails_takes_no_slot_and_no_descriptor():
    need_root()

    def check():
        family = Family()
        os.setresuid(NOBODY, NOBODY, NOBODY)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        client, conn = tcp_pair()
        before = os.listdir("/proc/self/fd")
        for _ in range(3):
            with pytest.raises(BlockingIOError, match="temporarily unavailable"):
                family.children.spawn(conn.fileno(), ADDRESS)
        assert os.listdir("/proc/self/fd") == before
        assert family.children.table == {}
        assert family.children.reap() == []
        assert family.words(scoreboard.TOP, *COUNTED) == [1, 0, 0, 0]
        os.kill(os.getpid(), signal.SIGHUP)
        assert family.signals.pending == {signal.SIGHUP}
        client.close()
        conn.close()

    isolated(check)


def test_a_fork_that_fails_leaves_no_name_for_the_next_client():
    need_root()

    def check():
        family = Family()
        family.configure("proxy_from=127.0.0.1")
        os.setresuid(NOBODY, NOBODY, NOBODY)
        before = resource.getrlimit(resource.RLIMIT_NPROC)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, before[1]))
        with pytest.raises(BlockingIOError, match="temporarily unavailable"):
            family.children.spawn(0, ("127.0.0.1", 4))
        resource.setrlimit(resource.RLIMIT_NPROC, before)
        family.configure()
        client = family.spawn()
        family.children.reap()
        assert [entry[1] for entry in family.reader.copy().clients()] == [PEER]
        client.close()
        family.reap()

    isolated(check)
