from __future__ import annotations

import mmap
import os
import select
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.common.reasons import DRAIN, EOF, IDLE, LIFETIME
from echod.common.scoreboard import RECEIVED, SENT
from echod.common.socket_options import IDLE_SHARE
from echod.session import session as module
from echod.session.session import Limits, Session
from support.processes import fork, reap, state
from support.sockets import PAIRS, limits, receive, receive_all
from support.wait import wait_for


@pytest.fixture(autouse=True)
def dispositions():
    """Restore the signals that a session ignores once a drain has begun: some of these run in this process."""
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGQUIT)}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize("pair", PAIRS)
def test_the_idle_limit_ends_in_a_fin(serve, pair):
    served = serve(limits(idle=1.0), pair=PAIRS[pair])
    served.conn.sendall(b"hello")
    assert receive_all(served.conn) == b"hello"
    served.conn.close()
    assert served.end() == IDLE


def test_the_idle_limit_counts_from_the_last_byte(serve):
    served = serve(limits(idle=2.0))
    for _ in range(25):  # longer than the limit
        served.conn.sendall(b"x")
        assert served.conn.recv(1) == b"x"
        assert not select.select([served.conn], [], [], 0.1)[0], "closed while it was busy"
    assert receive_all(served.conn) == b""
    served.conn.close()
    assert served.end() == IDLE


@pytest.mark.parametrize("pair", PAIRS)
def test_a_client_that_takes_no_echo_for_the_idle_limit_is_idle(serve, pair):
    served = serve(limits(idle=1.0), pair=PAIRS[pair], buffers=4096)
    assert served.stuff(bytes(1 << 20)) > 0
    assert served.end() == IDLE


def test_a_client_that_takes_its_echo_slowly_is_not_idle(serve):
    served = serve(limits(idle=2.0), buffers=4096)
    served.pause()
    taken = served.stuff(bytes(1 << 20))
    served.signal(signal.SIGCONT)
    served.conn.shutdown(socket.SHUT_WR)
    got = 0
    while got < taken:
        part = served.conn.recv(max(1024, taken // 20))
        assert part, f"closed after {got} of {taken} bytes"
        got += len(part)
        select.select([], [], [], 0.15)  # longer than the limit, in all
    assert served.end() == EOF


@pytest.mark.parametrize("pair", PAIRS)
def test_the_lifetime_ends_an_idle_session(serve, pair):
    served = serve(limits(lifetime=0.1), pair=PAIRS[pair])
    assert receive_all(served.conn) == b""
    served.conn.close()
    assert served.end() == LIFETIME


def test_the_lifetime_ends_a_busy_session_with_all_that_was_read_echoed(serve):
    served = serve(limits(lifetime=1.0))
    rounds = 0
    while True:
        served.conn.sendall(b"x" * 100)
        echo = b""
        while len(echo) < 100 and (part := served.conn.recv(100 - len(echo))):
            echo += part
        if len(echo) < 100:
            break
        rounds += 1
    assert rounds > 0
    assert echo in (b"", b"x" * 100)
    assert receive_all(served.conn) == b""
    served.conn.close()
    assert served.end() == LIFETIME
    assert served.counters[SENT] == served.counters[RECEIVED] == rounds * 100 + len(echo)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGQUIT])
def test_a_drain_echoes_what_is_queued_and_then_sends_fin(serve, pair, signum):
    served = serve(pair=PAIRS[pair])
    data = os.urandom(50_000)
    served.pause()
    served.conn.sendall(data)
    served.signal(signum, signal.SIGCONT)
    assert receive_all(served.conn) == data
    served.conn.close()
    assert served.end() == DRAIN


def test_a_drain_of_a_sleeping_session_ends_it(serve):
    served = serve()
    wait_for(lambda: state(served.pid) == "S", "the session to sleep")
    wait_for(lambda: signalled(served, signal.SIGTERM), "its end")
    assert served.conn.recv(1) == b""
    served.conn.close()
    assert served.end() == DRAIN


def signalled(served, signum):
    """Repeat a signal, as a drain does; tell whether the FIN has come."""
    served.signal(signum)
    return select.select([served.conn], [], [], 0.25)[0]


def test_a_drain_waits_for_what_a_peer_that_was_behind_has_under_way(monkeypatch):
    monkeypatch.setattr(module, "write", lambda fd, data: os.write(fd, data[:1]))  # cut by the signal: it slept
    one = Session(limits())
    one.end(signal.SIGTERM)
    client, conn = socket.socketpair()
    with client, conn, ThreadPoolExecutor(1) as pool:
        client.sendall(b"first")
        ending = pool.submit(one.run, conn.fileno(), [0, 0, 0, 0, 0], 0)
        assert receive(client, 5) == b"first"
        client.sendall(b"second")
        client.shutdown(socket.SHUT_WR)
        assert receive(client, 6) == b"second"
        assert ending.result() == EOF


def test_a_repeated_drain_wakes_nobody(serve):
    """With thousands of children each repetition would cost a stop more than the exits."""
    served = serve(limits(drain=60.0), buffers=4096)
    served.stuff_until_behind()
    served.signal(signal.SIGTERM)
    ignored = 1 << signal.SIGTERM - 1 | 1 << signal.SIGQUIT - 1
    wait_for(lambda: mask(served.pid, "SigIgn") & ignored == ignored, "both to be ignored")
    assert len(receive_all(served.conn)) > 0
    assert served.end() == DRAIN


def mask(pid, field):
    """Return a set of signals of a process, as /proc/PID/status has it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field)), 16)


def test_a_repeated_drain_changes_nothing(serve):
    served = serve()
    data = os.urandom(50_000)  # less than a window: all of it is there before the first signal
    served.pause()
    served.conn.sendall(data)
    served.signal(signal.SIGTERM, signal.SIGCONT)
    for _ in range(50):
        served.signal(signal.SIGTERM, signal.SIGQUIT)
    assert receive_all(served.conn) == data
    served.conn.close()
    assert served.end() == DRAIN


@pytest.mark.parametrize("buffers", [0, 4096])
def test_a_drain_waits_for_a_client_that_reads_late(serve, buffers):
    served = serve(buffers=buffers)
    data = os.urandom(1 << 20)
    taken = served.stuff(data)
    reached = served.counters[RECEIVED] + served.queued()
    served.signal(signal.SIGTERM)
    got = receive_all(served.conn)
    assert got == (data * (taken // len(data) + 1))[: len(got)]
    assert len(got) >= (reached if buffers else taken)  # small windows open too slowly for what is still under way
    served.conn.close()
    assert served.end() == DRAIN


def test_a_drain_does_not_wait_for_ever_for_a_client_that_never_reads(serve):
    served = serve(limits(drain=0.4), buffers=4096)
    served.stuff(bytes(1 << 20))
    served.signal(signal.SIGTERM)
    assert served.end() == DRAIN


def test_what_comes_after_our_fin_is_dropped_and_not_answered_with_a_reset(serve):
    served = serve()
    served.conn.sendall(b"x")
    assert served.conn.recv(1) == b"x"
    wait_for(lambda: signalled(served, signal.SIGTERM), "its FIN")
    assert served.conn.recv(1) == b""
    served.conn.sendall(bytes(300_000))
    served.conn.shutdown(socket.SHUT_WR)
    assert served.end() == DRAIN
    assert served.conn.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert served.conn.recv(1) == b""
    assert served.counters[RECEIVED] == 1


def test_a_peer_that_never_closes_is_left_after_a_bounded_time(serve):
    served = serve(limits(drain=0.4))
    wait_for(lambda: signalled(served, signal.SIGTERM), "its FIN")
    assert served.end() == DRAIN


def test_a_session_that_is_ended_before_it_begins_echoes_what_is_queued():
    client, conn = socket.socketpair()
    session = Session(limits(drain=0.4))
    session.end(signal.SIGTERM)
    client.sendall(b"early")

    def run():
        client.close()
        return session.run(conn.fileno(), [0, 0, 0, 0, 0], 0)

    pid = fork(run)
    conn.close()
    assert reap(pid) == DRAIN
    assert receive_all(client) == b"early"
    client.close()


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("drain", [None, 0.0, 10.0], ids=["never", "0s", "10s"])
def test_the_lifetime_ends_a_session_whose_client_does_not_read(serve, pair, drain):
    served = serve(limits(lifetime=1.5, drain=drain), pair=PAIRS[pair], buffers=4096)
    served.stuff(bytes(1 << 20))
    assert served.end() == LIFETIME


@pytest.mark.parametrize("drain", [None, 0.0, 10.0], ids=["never", "0s", "10s"])
def test_the_lifetime_ends_in_a_fin_while_the_client_sends_on(serve, drain):
    served = serve(limits(lifetime=1.0, drain=drain))
    served.conn.sendall(b"x")
    assert receive_all(served.conn) == b"x"
    for _ in range(5):
        served.conn.sendall(bytes(100_000))
    served.conn.shutdown(socket.SHUT_WR)
    assert served.end() == LIFETIME
    assert served.conn.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0, "it was reset"
    assert served.conn.recv(1) == b""


def test_the_end_of_a_lifetime_takes_less_than_two_seconds():
    assert module.FLUSH_S + module.LINGER_S < 2.0


@pytest.mark.parametrize("pair", PAIRS)
def test_the_idle_limit_applies_in_a_drain(serve, pair):
    served = serve(limits(idle=1.5, drain=None), pair=PAIRS[pair], buffers=4096)
    served.stuff_until_behind()
    served.signal(signal.SIGTERM)
    assert served.end() == IDLE


def test_a_lifetime_that_runs_out_in_a_drain_ends_it(serve):
    served = serve(limits(lifetime=2.5, drain=None), buffers=4096)
    served.stuff_until_behind()
    served.signal(signal.SIGTERM)
    assert served.end() == LIFETIME


def test_how_long_a_drain_may_take_is_asked_for_when_it_begins(serve):
    with memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("B").cast("Q") as setting:
        setting[0] = 3600_000
        served = serve(Limits(None, None, lambda: setting[0] / 1000), buffers=4096)
        served.stuff_until_behind()
        setting[0] = 400  # a reload, while the client is being served
        served.signal(signal.SIGTERM)
        assert served.end() == DRAIN


def test_a_drain_without_a_time_limit_waits_for_who_reads(serve):
    served = serve(limits(drain=None), buffers=4096)
    taken = served.stuff(bytes(1 << 20))
    served.signal(signal.SIGTERM)
    assert not select.select([], [], [], 0.5)[0]
    assert 0 < len(receive_all(served.conn)) <= taken
    served.conn.close()
    assert served.end() == DRAIN


@pytest.mark.parametrize("seconds", [0.0, 0.1, 1.0, 10.0, 3600.0])
def test_a_drain_leaves_time_for_the_lingering_close(seconds):
    session = Session(limits(drain=seconds))
    session.end(signal.SIGTERM)
    left = session._deadline - time.monotonic()
    assert left + session._linger <= seconds
    assert session._linger <= module.LINGER_S


class Stage:
    """A clock and a socket without a process: each call that finds nothing lasts as long as the socket's time-out."""

    def __init__(self, idle, moves):
        self.now, self.timeout, self.moves = 0.0, idle * IDLE_SHARE, sorted(moves)
        self.last = 0.0  # when a byte last moved

    def read(self, _fd, _size):
        if self.moves and self.moves[0] <= self.now + self.timeout:
            self.now = self.last = max(self.now, self.moves.pop(0))
            return b"x"
        self.now += self.timeout
        raise BlockingIOError

    def write(self, _fd, data):
        return len(data)

    def monotonic(self):
        return self.now

    def monotonic_ns(self):
        return int(self.now * 1e9)


IDLE_LIMITS = st.sampled_from([0.001, 0.5, 30.0, 3600.0])
MOMENTS = st.lists(st.floats(0, 5), max_size=8)  # in idle limits


@given(IDLE_LIMITS, MOMENTS)
def test_an_idle_client_is_ended_after_one_to_two_times_the_limit(idle, moments):
    stage = Stage(idle, [moment * idle for moment in moments])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "read", stage.read)
        patch.setattr(module, "write", stage.write)
        patch.setattr(module, "monotonic_ns", stage.monotonic_ns)
        patch.setattr(module, "time", stage)
        patch.setattr(Session, "_close_lingering", lambda _, reason: reason)
        patch.setattr(Session, "_acknowledged", lambda _: b"")
        assert Session(limits(idle=idle)).run(-1, [0] * 5, 0) == IDLE
    assert idle <= stage.now - stage.last <= 2 * idle
    assert all(moment - stage.last > idle for moment in stage.moves), "it was ended while it moved bytes"


@given(IDLE_LIMITS, MOMENTS)
def test_a_client_that_does_not_read_is_ended_after_one_to_two_times_the_limit(idle, moments):
    stage = Stage(idle, [moment * idle for moment in moments])

    def acknowledged(_):  # at these moments the peer's kernel takes a byte, which no system call of ours tells
        return sum(moment <= stage.now for moment in stage.moves)

    def stuck(*_):
        stage.now += stage.timeout
        raise BlockingIOError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "read", lambda *_: b"xy")
        patch.setattr(module, "write", lambda *_: 1)
        patch.setattr(module, "monotonic_ns", stage.monotonic_ns)
        patch.setattr(module, "time", stage)
        patch.setattr(module, "os", SimpleNamespace(write=stuck, set_blocking=lambda *_: None))
        patch.setattr(Session, "_close_lingering", lambda _, reason: reason)
        patch.setattr(Session, "_acknowledged", acknowledged)
        assert Session(limits(idle=idle)).run(-1, [0] * 5, 0) == IDLE
    taken = [moment for moment in stage.moves if moment <= stage.now]
    assert idle <= stage.now - max(taken, default=0.0) <= 2 * idle
