from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from echod.common.config.networks import parse_network
from echod.log import rates as module
from echod.log.rates import MOST_SOURCES, OTHERS, PERIOD_S, Summaries, source_of

CHECKER = "192.0.2.10:51514"


class Written:
    """Summaries of some networks at a time of our own; `lines` is what was written."""

    def __init__(self, monkeypatch, *networks):
        self.now = 1000.0
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.summaries = Summaries(tuple(map(parse_network, networks)))
        self.lines: list[str] = []

    def add(self, peer=CHECKER, reason="eof", received=6, sent=6):
        return self.summaries.add(peer, reason, received, sent)

    def flush(self, after=0.0, now=None):
        self.now += after
        self.summaries.flush(self.lines.append, self.now if now is None else now)


@pytest.fixture
def written(monkeypatch):
    return Written(monkeypatch, "192.0.2.0/24", "2001:db8::/32", "fe80::/10")


def test_a_minutes_clients_of_a_source_are_one_line(written):
    assert all([written.add() for _ in range(598)] + [written.add(reason="reset") for _ in range(2)])
    written.flush(PERIOD_S - 1)
    assert written.lines == []
    written.flush(1)
    assert written.lines == ["summary source=192.0.2.10 clients=600 in=3600 out=3600 eof=598 reset=2 secs=60"]
    written.flush(PERIOD_S)
    assert len(written.lines) == 1, "nothing has come since"
    assert written.summaries.due == math.inf


def test_the_minute_begins_with_the_first_client(written):
    assert written.summaries.due == math.inf
    written.now += 500
    written.add()
    assert written.summaries.due == written.now + PERIOD_S


def test_all_there_is_can_be_asked_for(written):
    written.add(received=1, sent=0, reason="error=ETIMEDOUT")
    written.flush(7, now=math.inf)
    assert written.lines == ["summary source=192.0.2.10 clients=1 in=1 out=0 error=1 secs=7"]


def test_clients_of_other_networks_are_left_to_others(written):
    assert not written.add("198.51.100.1:7")
    assert not written.add("[2001:db9::1]:7")
    written.flush(PERIOD_S)
    assert written.lines == []


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        (CHECKER, "192.0.2.10"),
        ("[2001:db8:0:1::2]:7", "2001:db8:0:1::/64"),
        ("[fe80::1%eth0]:7", "fe80::/64%eth0"),
    ],
)
def test_each_source_has_a_line(written, peer, source):
    assert source_of(peer) == source
    written.add("192.0.2.11:1")
    assert written.add(peer)
    written.flush(PERIOD_S)
    assert [line.split()[1] for line in written.lines] == ["source=192.0.2.11", f"source={source}"]


def test_sources_are_bounded_and_the_sum_is_right(written):
    for number in range(MOST_SOURCES + 10):
        written.add(f"192.0.2.{number}:7")
        written.add(f"192.0.2.{number}:8")
    written.flush(PERIOD_S)
    assert len(written.lines) == MOST_SOURCES + 1
    assert written.lines[-1] == f"summary source={OTHERS} clients=20 in=120 out=120 eof=20 secs=60"
