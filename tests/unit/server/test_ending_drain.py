from __future__ import annotations

import signal
from typing import Any

import pytest

from echod.server.drain import FOREVER, REPEAT, Drain
from support.sockets import memory_log


class Recorder:
    """Children that record what is sent to them."""

    def __init__(self):
        self.table = {4711: None}
        self.sent: list[int] = []

    def send(self, signum):
        self.sent.append(signum)


@pytest.fixture
def children():
    children: Any = Recorder()
    return children


def test_before_it_begins_nothing_is_due(children):
    drain, (log, _) = Drain(children), memory_log()
    assert drain.due == FOREVER
    drain.tick(1e9, log)
    assert children.sent == []


def test_sigterm_is_repeated_until_the_time_is_over_and_then_comes_sigkill_once(children):
    drain, (log, lines) = Drain(children), memory_log()
    drain.begin(1.0)
    begun = drain.due
    for _ in range(20):
        if drain.due < FOREVER:
            drain.tick(drain.due, log)
    assert children.sent == [signal.SIGTERM] * 4 + [signal.SIGKILL]
    assert drain.due == FOREVER
    assert lines.texts == ["drain killed=1"]
    assert begun > 0


def test_between_two_signals_nothing_is_sent(children):
    drain, (log, _) = Drain(children), memory_log()
    drain.begin(10.0)
    first = drain.due
    drain.tick(first, log)
    drain.tick(first + REPEAT / 2, log)
    assert children.sent == [signal.SIGTERM]
    assert drain.due == first + REPEAT


def test_without_a_time_limit_nobody_is_killed(children):
    drain, (log, _) = Drain(children), memory_log()
    drain.begin(None)
    for _ in range(1000):
        drain.tick(drain.due, log)
    assert set(children.sent) == {signal.SIGTERM}


@pytest.mark.parametrize("before", [None, 3600.0])
def test_a_second_stop_ends_them_at_once(children, before):
    drain, (log, _) = Drain(children), memory_log()
    drain.begin(before)
    drain.tick(drain.due, log)
    drain.begin(0.0)
    drain.tick(drain.due, log)
    assert children.sent == [signal.SIGTERM, signal.SIGKILL]
    assert drain.due == FOREVER


def test_where_nobody_is_left_nobody_was_killed(children):
    drain, (log, lines) = Drain(children), memory_log()
    children.table.clear()
    drain.begin(0.0)
    drain.tick(drain.due, log)
    assert lines.texts == []
