"""A client that half-closes and does not read keeps its session: until it has taken its echo, or a limit ends it."""

from __future__ import annotations

import select
import signal
import socket

import pytest

from echod.common.reasons import DRAIN, EOF, IDLE, LIFETIME, RESET
from echod.common.scoreboard import SENT
from echod.session.bulk import FIRST_READ_BYTES
from support.processes import state
from support.sockets import NEVER, limits, receive, receive_all
from support.stream import reset
from support.wait import wait_for

LOT = bytes(1 << 20)


def half_closed(served):
    """Send until no more is taken, half-close, and wait until the session has nothing left to do but to wait."""
    served.pause()
    sent = served.stuff(LOT)
    served.signal(signal.SIGCONT)
    served.conn.shutdown(socket.SHUT_WR)
    wait_for(lambda: served.counters[SENT] == sent or state(served.pid) == "Z", "all to be written")
    return sent


def kept_by_the_kernel(port):
    """Return the connections of a port that the kernel keeps for a process that has exited (/proc/net/tcp)."""
    with open("/proc/net/tcp") as file:
        rows = [line.split() for line in file]
    return [row for row in rows if row[1].endswith(f":{port:04X}") and row[3] in ("04", "09", "0B")]


@pytest.fixture
def stuck(serve):
    """Return a function that makes a session whose client has half-closed and does not read."""

    def make(bounds=NEVER):
        served = serve(bounds, buffers=16 << 10)
        served.conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        served.sent = half_closed(served)
        return served

    return make


def test_it_has_its_session_until_it_reads(stuck):
    served = stuck()
    assert state(served.pid) == "S"
    assert len(receive_all(served.conn)) == served.sent
    assert served.end() == EOF


@pytest.mark.parametrize("bounds", [limits(idle=1.0), limits(lifetime=1.0)], ids=["idle", "lifetime"])
def test_a_limit_drops_the_echo(stuck, bounds):
    served = stuck(bounds)
    port = served.conn.getpeername()[1]
    assert served.end() == (IDLE if bounds.idle else LIFETIME)
    assert not kept_by_the_kernel(port)
    with pytest.raises(ConnectionResetError):
        receive_all(served.conn)


@pytest.mark.parametrize("bounds", [limits(idle=1.0), limits(lifetime=1.0)], ids=["idle", "lifetime"])
def test_a_limit_drops_the_echo_of_a_client_that_has_not_half_closed(serve, bounds):
    served = serve(bounds, buffers=16 << 10)
    port = served.conn.getpeername()[1]
    assert served.stuff(LOT) > 0
    assert served.end() == (IDLE if bounds.idle else LIFETIME)
    assert not kept_by_the_kernel(port)


def test_a_slow_reader_is_not_idle(stuck):
    served = stuck(limits(idle=2.0))
    parts = 10
    for _ in range(parts):
        receive(served.conn, served.sent // parts)
        assert not select.select([], [], [], 0.3)[0]  # in all longer than the limit
    receive_all(served.conn)
    assert served.end() == EOF


def test_a_drain_leaves_the_rest_to_the_kernel(stuck):
    served = stuck(limits(drain=1.0))
    served.signal(signal.SIGTERM)
    assert served.end() == DRAIN
    assert len(receive_all(served.conn)) == served.sent


def test_a_drain_waits_for_it(stuck):
    served = stuck(limits(drain=60.0))
    served.signal(signal.SIGTERM)
    assert len(receive_all(served.conn)) == served.sent
    assert served.end() == EOF


def test_a_reset_is_told_from_an_end(stuck):
    served = stuck()
    reset(served.conn)
    assert served.end() == RESET


def test_a_small_echo_is_not_waited_for(serve):
    served = serve()
    served.conn.sendall(bytes(FIRST_READ_BYTES))
    served.conn.shutdown(socket.SHUT_WR)
    assert served.end() == EOF
    assert receive_all(served.conn) == bytes(FIRST_READ_BYTES)
