"""Clients that take little, late or nothing for a while: nothing is lost, and memory does not grow."""

from __future__ import annotations

import socket

import pytest

from support.processes import connection_of, socket_of
from support.stream import BACKOFF, Stream, fill, receive, tcp_info
from support.wait import DEADLINE, wait_for

SMALLEST = 1  # SO_RCVBUF: the kernel makes the least of it that it can (socket(7))


def narrow(echod):
    """Return a connection whose receive buffer is as small as the kernel has them."""
    conn = socket.socket()
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALLEST)
    conn.settimeout(DEADLINE)
    conn.connect(echod.address)
    return conn


def test_a_tiny_window(running):
    assert Stream(narrow(running), most=300_000).end() == 300_000
    done = running.wait_idle()
    assert (done["bytes_in"], done["bytes_out"]) == (300_000, 300_000)


@pytest.mark.parametrize("half_closed", [False, True], ids=["open", "half-closed"])
def test_a_reader_that_pauses_and_goes_on(echod, half_closed):
    """It pauses for several of the kernel's probes, longer than `keepalive`: it lives, and that is all that counts."""
    echod.start(keepalive="1s", idle_timeout="1min")
    with narrow(echod) as conn:
        sent = fill(conn)
        if half_closed:
            conn.shutdown(socket.SHUT_WR)
        (child,) = echod.children()
        with socket_of(child.pid, connection_of(child.pid)) as server:
            wait_for(lambda: tcp_info(server)[BACKOFF] >= 4, "four probes of the closed window")
        receive(conn, sent)
        if not half_closed:
            conn.shutdown(socket.SHUT_WR)
        assert conn.recv(1) == b""
    done = echod.wait_idle()
    assert (done["bytes_in"], done["bytes_out"]) == (sent, sent)
    assert "reason=eof" in echod.events("close")[0]
