from __future__ import annotations

import os
import select
import signal
import socket

import pytest

from echod.common.reasons import DRAIN, EOF, IDLE, LIFETIME
from echod.server import session
from echod.server.session import RECEIVED, SENT, Limits
from support.processes import fork, reap, state
from support.sockets import PAIRS, receive_all
from support.wait import wait_for


@pytest.mark.parametrize("pair", PAIRS)
def test_the_idle_limit_ends_in_a_fin(serve, pair):
    served = serve(pair=PAIRS[pair], idle=0.1)
    served.conn.sendall(b"hello")
    assert receive_all(served.conn) == b"hello"
    served.conn.close()
    assert served.end() == IDLE


def test_the_idle_limit_counts_from_the_last_byte(serve):
    served = serve(idle=1.0)
    for _ in range(15):  # longer than the limit
        served.conn.sendall(b"x")
        assert served.conn.recv(1) == b"x"
        assert not select.select([served.conn], [], [], 0.1)[0], "closed while it was busy"
    assert receive_all(served.conn) == b""
    served.conn.close()
    assert served.end() == IDLE


@pytest.mark.parametrize("pair", PAIRS)
def test_a_client_that_takes_no_echo_for_the_idle_limit_is_idle(serve, pair):
    served = serve(Limits(None, 0.2), pair=PAIRS[pair], idle=0.2, buffers=4096)
    assert served.stuff(bytes(1 << 20)) > 0
    assert served.end() == IDLE


def test_a_client_that_takes_its_echo_slowly_is_not_idle(serve):
    served = serve(idle=0.5, buffers=4096)
    served.pause()
    taken = served.stuff(bytes(1 << 20))
    served.signal(signal.SIGCONT)
    served.conn.shutdown(socket.SHUT_WR)
    got = 0
    while got < taken:
        part = served.conn.recv(max(1024, taken // 20))
        assert part, f"closed after {got} of {taken} bytes"
        got += len(part)
        select.select([], [], [], 0.05)
    assert served.end() == EOF


@pytest.mark.parametrize("pair", PAIRS)
def test_the_lifetime_ends_an_idle_session(serve, pair):
    served = serve(Limits(0.1, 5.0), pair=PAIRS[pair])
    assert receive_all(served.conn) == b""
    served.conn.close()
    assert served.end() == LIFETIME


def test_the_lifetime_ends_a_busy_session_with_all_that_was_read_echoed(serve):
    served = serve(Limits(0.2, 5.0))
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
    assert served.tally[SENT] == served.tally[RECEIVED] == rounds * 100 + len(echo)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGQUIT])
def test_a_drain_echoes_what_is_queued_and_then_sends_fin(serve, pair, signum):
    served = serve(pair=PAIRS[pair])
    data = os.urandom(100_000)
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


def test_a_repeated_drain_changes_nothing(serve):
    served = serve()
    data = os.urandom(200_000)
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
    reached = served.tally[RECEIVED] + served.queued()
    served.signal(signal.SIGTERM)
    got = receive_all(served.conn)
    assert got == (data * (taken // len(data) + 1))[: len(got)]
    assert len(got) >= (reached if buffers else taken)  # small windows open too slowly for what is still under way
    served.conn.close()
    assert served.end() == DRAIN


def test_a_drain_does_not_wait_for_ever_for_a_client_that_never_reads(serve):
    served = serve(Limits(None, 0.4), buffers=4096)
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
    assert served.tally[RECEIVED] == 1


def test_a_peer_that_never_closes_is_left_after_a_bounded_time(serve):
    served = serve(Limits(None, 0.4))
    wait_for(lambda: signalled(served, signal.SIGTERM), "its FIN")
    assert served.end() == DRAIN


def test_a_session_that_is_ended_before_it_begins_echoes_what_is_queued():
    ours, theirs = socket.socketpair()
    client = session.Session(Limits(None, 0.4))
    client.end(signal.SIGTERM)
    ours.sendall(b"early")

    def run():
        ours.close()
        return client.run(theirs.fileno(), [0, 0, 0, 0, 0], 0)

    pid = fork(run)
    theirs.close()
    assert reap(pid) == DRAIN
    assert receive_all(ours) == b"early"
    ours.close()


def test_the_grace_of_a_drain_leaves_time_to_hang_up():
    for drain in (0.0, 0.1, 1.0, 10.0):
        limits = Limits(None, drain)
        assert limits.grace + limits.linger <= drain
    assert Limits(None, None).linger == session.LINGER
