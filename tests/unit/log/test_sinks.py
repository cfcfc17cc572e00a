from __future__ import annotations

import os
import time
from datetime import datetime

import pytest

from echod.log.log import INFO
from echod.log.sinks import Clock, Sink
from support.wait import wait_for


class Unreliable(Sink):
    """A log that takes a line when `works` says so."""

    def __init__(self, *works):
        self.works = list(works)
        self.texts: list[str] = []

    def write(self, _level, text):
        if not (self.works.pop(0) if self.works else True):
            self.lost += 1
            return False
        self.texts.append(text)
        if self.lost:
            self.report_lost()
        return True


class Whole(Sink):
    """A log that takes a few lines in one write."""

    def __init__(self):
        self.full = False

    def write_all(self, _level, texts):
        self.lost += len(texts) if self.full else 0


def test_each_of_write_and_write_all_can_stand_for_the_other():
    sink = Unreliable()
    sink.write_all(INFO, ["one", "two"])
    assert sink.texts == ["one", "two"]
    whole = Whole()
    assert whole.write(INFO, "one")
    whole.full = True
    assert not whole.write(INFO, "two")
    assert whole.lost == 1


def test_lines_that_were_lost_are_reported_with_the_next_that_goes_through():
    sink = Unreliable(False, False, True)
    for text in ("one", "two", "three", "four"):
        sink.write(INFO, text)
    assert sink.texts == ["three", "log lost=2", "four"]
    assert sink.lost == 0


def test_a_report_that_is_lost_itself_is_made_with_the_next_line():
    sink = Unreliable(False, False, True, False, True, True)
    for text in ("one", "two", "three", "four", "five"):
        sink.write(INFO, text)
    assert sink.texts == ["three", "four", "log lost=2", "five"]
    assert sink.lost == 0


def test_lines_lost_are_counted_in_all_too(monkeypatch):
    monkeypatch.setattr(Sink, "total", [7])
    Sink().lose(2)
    sink = Sink()
    sink.lose(1)
    assert (sink.lost, Sink.total) == (1, [10])


def test_what_need_not_be_opened_again_or_closed_does_nothing():
    sink = Sink()
    sink.reopen()
    sink.close()
    assert sink.lost == 0


@pytest.mark.parametrize("zone", ["UTC0", "XYZ-05:30", "ABC+3"])
def test_a_line_begins_with_the_local_time_in_iso_8601(zone, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()

    def whole_second():
        before, prefix, after = time.time(), Clock._prefix(), time.time()
        return (before, prefix) if int(before) == int(after) else None

    before, prefix = wait_for(whole_second, "two looks within a second")
    stamp = datetime.fromisoformat(prefix.split()[0])
    monkeypatch.undo()
    time.tzset()
    assert int(before) == int(stamp.timestamp())
    assert prefix.endswith(f" echod[{os.getpid()}]: ")
