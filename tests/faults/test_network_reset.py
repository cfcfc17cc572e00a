"""RST at every stage of a connection: it is counted as what it is, and no other client notices."""

from __future__ import annotations

import socket

import pytest

from support.processes import zombies
from support.stream import Stream, fill, reset
from support.wait import DEADLINE

RESETS = 20  # connections at each stage


def connected(conn):
    """It has sent nothing."""


def has_sent(conn):
    conn.sendall(b"x" * 1000)


def has_read(conn):
    conn.sendall(b"x")
    assert conn.recv(1) == b"x"


def in_the_middle(conn):
    """Both windows are closed: the child sleeps in its write."""
    fill(conn)


def half_closed(conn):
    """Its FIN waits behind what the child has not read yet."""
    fill(conn)
    conn.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("stage", [connected, has_sent, has_read, in_the_middle, half_closed])
def test_a_reset(running, stage):
    address = running.address
    other = Stream(socket.create_connection(address))
    other.goes_on()
    most = 3 if stage in (in_the_middle, half_closed) else RESETS
    conns = [socket.create_connection(address, timeout=DEADLINE) for _ in range(most)]
    for conn in conns:
        stage(conn)
        reset(conn)
    other.goes_on()
    total = other.end()
    done = running.wait_idle()
    assert done["accepted"] == done["closed"] == most + 1
    assert not zombies(running.pid)
    lines = [line.split() for line in running.events("close")]
    assert [line[3] for line in lines].count("reason=reset") == most
    assert [line[4:6] for line in lines if line[3] == "reason=eof"] == [[f"in={total}", f"out={total}"]]


def test_resets_in_the_backlog(running):
    """The daemon finds them when it goes on; who waits behind them is served."""
    process, address = running.process(), running.address
    process.suspend()
    for stage in (connected, has_sent):
        for _ in range(RESETS):
            conn = socket.create_connection(address)
            stage(conn)
            reset(conn)
    behind = socket.create_connection(address, timeout=DEADLINE)
    behind.sendall(b"x")
    process.resume()
    assert behind.recv(1) == b"x"
    behind.close()
    done = running.wait_idle()
    assert done["accepted"] == done["closed"] == 2 * RESETS + 1
    assert [line.split()[3] for line in running.events("close")].count("reason=reset") == 2 * RESETS
