"""A daemon that is full again and again says so at a limited rate, and its lines add up."""

from __future__ import annotations

import os
import re
import socket

from echod.common.scoreboard import FULL_SINCE, Scoreboard
from support.wait import DEADLINE, wait_for

TIMES = 40


def test_full_is_logged_at_a_limited_rate(echod):
    echod.start(max_children=1)
    address = echod.address
    fd = os.open(f"{echod.pid_file}.scoreboard", os.O_RDONLY)
    board = Scoreboard(fd)
    os.close(fd)
    for number in range(1, TIMES + 1):
        with socket.create_connection(address, timeout=DEADLINE) as client:
            wait_for(lambda: board.words[FULL_SINCE], "it to be full")
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
        wait_for(lambda number=number: len(echod.events("close")) == number, "the slot to be free again")
    echod.run("stop", check=0)
    lines = echod.events("full")
    assert len(lines) < TIMES
    assert all(line.startswith("full clients=1 max_children=1") for line in lines)
    assert sum(1 + int((re.findall(r"left_out=(\d+)", line) or [0])[0]) for line in lines) == TIMES
