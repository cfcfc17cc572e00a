"""One client connects and disconnects as fast as it can: the others do not wait behind a fork for each time."""

from __future__ import annotations

import socket
import struct

import pytest

from support.wait import wait_for

SLAMS = 400
MOST_FORKS = 150  # until the daemon has reaped the first of them
RESET = struct.pack("ii", 1, 0)  # for SO_LINGER: close(2) sends RST


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_most_of_them_get_no_child(echod, reset):
    echod.start(max_children=1000)
    process, address = echod.process(), echod.address
    process.suspend()
    for _ in range(SLAMS):
        conn = socket.create_connection(address)
        if reset:
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        conn.close()
    behind = echod.connect()
    behind.sendall(b"x")
    process.resume()
    assert behind.recv(1) == b"x"
    behind.close()
    done = echod.wait_idle()
    assert done["accepted"] == done["closed"] == SLAMS + 1
    assert done["ended"]["reset"] == (SLAMS if reset else 0)
    lines = echod.events("close")
    assert len(lines) == SLAMS + 1
    assert sum(" child=0 " not in line for line in lines) <= MOST_FORKS


def test_clients_that_come_now_and_then_and_leave_cost_nothing_more(running):
    for _ in range(20):
        running.connect().close()
        running.wait_idle()
    assert not [line for line in running.events("close") if " child=0 " in line]
    wait_for(lambda: len(running.events("close")) == 20, "all to be logged")
