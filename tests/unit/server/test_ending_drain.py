from __future__ import annotations

import signal
from typing import Any

import pytest

from echod.server.ending import FOREVER, REPEAT_S, Drain
from support.sockets import memory_log


class Recorder:
    """Children that record what is sent to them."""

    def __init__(self):
        self.log, self.lines = memory_log()
        self.table = {4711: None}
        self.sent: list[int] = []

    def send(self, signum):
        self.sent.append(signum)


@pytest.fixture
def children():
    children: Any = Recorder()
    return children


def test_before_it_begins_nothing_is_due(children):
    drain = Drain(children)
    assert drain.due == FOREVER
    drain.tick(1e9)
    assert children.sent == []


def test_sigterm_is_repeated_until_the_time_is_over_and_then_comes_sigkill_once(children):
    drain, lines = Drain(children), children.lines
    drain.begin(1.0)
    begun = drain.due
    for _ in range(20):
        if drain.due < FOREVER:
            drain.tick(drain.due)
    assert children.sent == [signal.SIGTERM] * 4 + [signal.SIGKILL]
    assert drain.due == FOREVER
    assert lines.texts == ["drain killed=1"]
    assert begun > 0


def test_between_two_signals_nothing_is_sent(children):
    drain = Drain(children)
    drain.begin(10.0)
    first = drain.due
    drain.tick(first)
    drain.tick(first + REPEAT_S / 2)
    assert children.sent == [signal.SIGTERM]
    assert drain.due == first + REPEAT_S


def test_without_a_time_limit_nobody_is_killed(children):
    drain = Drain(children)
    drain.begin(None)
    for _ in range(1000):
        drain.tick(drain.due)
    assert set(children.sent) == {signal.SIGTERM}


@pytest.mark.parametrize("before", [None, 3600.0])
def test_a_second_stop_ends_them_at_once(children, before):
    drain = Drain(children)
    drain.begin(before)
    drain.tick(drain.due)
    drain.begin(0.0)
    drain.tick(drain.due)
    assert children.sent == [signal.SIGTERM, signal.SIGKILL]
    assert drain.due == FOREVER


def test_where_nobody_is_left_nobody_was_killed(children):
    drain, lines = Drain(children), children.lines
    children.table.clear()
    drain.begin(0.0)
    drain.tick(drain.due)
    assert lines.texts == []
