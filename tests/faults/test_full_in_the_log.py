"""A daemon that is full again and again says so at a limited rate, and its lines add up."""

from __future__ import annotations

import re

from support.sockets import exchange
from support.wait import wait_for

TIMES = 40


def test_full_is_logged_at_a_limited_rate(echod):
    echod.start(max_children=1)
    address = echod.address
    for number in range(1, TIMES + 1):
        assert exchange(address, b"x") == b"x"
        wait_for(lambda number=number: len(echod.events("close")) == number, "the slot to be free again")
    echod.run("stop", check=0)
    lines = echod.events("full")
    assert len(lines) < TIMES
    assert all(line.startswith("full clients=1 max_children=1") for line in lines)
    assert sum(1 + int((re.findall(r"left_out=(\d+)", line) or [0])[0]) for line in lines) == TIMES
