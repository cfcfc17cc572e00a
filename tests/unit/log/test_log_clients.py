from __future__ import annotations

import math

import pytest

from echod.log.log import describe
from support.sockets import memory_log

PEER = "192.0.2.7:51514"
LINE = "close peer=192.0.2.7:51514 child=4711 reason={} in=141 out=140 secs=0.203"


def said(reason, *overrides):
    """Return what a log says of a client that ended so: its line, and what is written besides."""
    log, sink = memory_log(*overrides)
    line = describe(log, PEER, 4711, reason, (141, 140, 0.2034))
    log.flush(math.inf)
    return line, sink.texts


def test_a_client_has_a_line():
    assert said("eof") == (LINE.format("eof"), [])
    assert said("error=ETIMEDOUT") == (LINE.format("error=ETIMEDOUT"), [])


@pytest.mark.parametrize("reason", ["signal=SIGKILL", "error=CRASHED", "error=EIO"])
@pytest.mark.parametrize("setting", ["log_clients=no", "log_summary=192.0.2.0/24"])
def test_one_that_a_signal_or_a_bug_ended_always_has(reason, setting):
    assert said(reason, setting) == (LINE.format(reason), [])


def test_without_log_clients_others_have_none():
    assert said("eof", "log_clients=no") == ("", [])
    assert said("error=ETIMEDOUT", "log_clients=no") == ("", [])


@pytest.mark.parametrize("more", [[], ["log_clients=no"]])
def test_those_of_log_summary_are_in_the_summary(more):
    line, (summary,) = said("reset", "log_summary=192.0.2.0/24", *more)
    assert line == ""
    assert summary.startswith("summary source=192.0.2.7 clients=1 in=141 out=140 reset=1 secs=")
    assert said("reset", "log_summary=198.51.100.1") == (LINE.format("reset"), [])


@pytest.mark.parametrize("reason", ["proxy", "access"])
@pytest.mark.parametrize("setting", ["log_clients=no", "log_clients=yes", "log_summary=192.0.2.0/24"])
def test_one_that_its_child_has_refused_is_a_refusal(reason, setting):
    assert said(reason, setting) == ("", [f"refuse peer={PEER} reason={reason}"])


def test_refusals_are_limited_for_each_source():
    log, sink = memory_log()
    for number in range(5):
        describe(log, f"[2001:db8::{number}]:7", 4711, "proxy", (0, 0, 0.0))
        describe(log, f"192.0.2.{number}:7", 4711, "proxy", (0, 0, 0.0))
    log.flush(math.inf)
    assert len(sink.texts) == 7
    assert sink.texts[-1] == "refuse peer=[2001:db8::4]:7 reason=proxy left_out=3"
