"""Clients that half-close and never read: `max_children` bounds what the kernel keeps for them, too."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from support.stream import fill
from support.wait import wait_for

CHILDREN = 4
HEADER = b"PROXY TCP4 192.0.2.7 192.0.2.1 51514 7\r\n"
CLOSING = ("04", "09", "0B")  # in /proc/net/tcp: FIN_WAIT1, LAST_ACK, CLOSING


def of_the_port(port, states):
    """Return the connections of a port in these states."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return [row for row in rows if row[1].endswith(f":{port:04X}") and row[3] in states]


def greedy(address, header):
    """Return a client that has sent more than its kernel takes of the echo, and has half-closed."""
    conn = socket.socket()
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    conn.connect(address)
    conn.sendall(header)
    fill(conn)
    conn.shutdown(socket.SHUT_WR)
    return conn


@pytest.mark.parametrize("header", [b"", HEADER], ids=["plain", "behind a balancer"])
def test_they_keep_their_children_until_they_are_idle(echod, header):
    echod.start(max_children=CHILDREN, idle_timeout="2s", proxy_from="127.0.0.1" if header else None)
    address = echod.address
    with contextlib.ExitStack() as stack:
        for number in range(3 * CHILDREN):
            stack.enter_context(contextlib.closing(greedy(address, header)))
            assert len(of_the_port(address[1], CLOSING)) <= CHILDREN, f"after {number + 1} clients"
        wait_for(lambda: len(echod.events("close")) == 3 * CHILDREN, "all of them to be idle", 60)
        wait_for(lambda: not of_the_port(address[1], CLOSING), "the kernel to keep nothing")
    assert {line.split()[3] for line in echod.events("close")} == {"reason=idle"}
