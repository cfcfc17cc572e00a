from __future__ import annotations

import math
import re
import time
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.log import rates as module
from echod.log.log import INFO, WARNING
from echod.log.rates import MOST_SOURCES, WINDOW_S, RateLimits


class Written:
    """Rate limits whose lines are kept in `lines`."""

    def __init__(self):
        self.limits, self.lines = RateLimits(), []

    def write(self, level, text):
        self.lines.append((level, text))

    def limited(self, event, source="", text="text", level=INFO):
        self.limits.limited(self.write, level, event, source, text)

    def flush(self, now):
        self.limits.flush(self.write, now)

    def end_windows(self):
        """Let the time pass at which the next window ends."""
        self.flush(self.limits.due)

    @property
    def texts(self):
        return [text for _, text in self.lines]


@pytest.fixture
def written():
    return Written()


def test_one_event_in_a_window_is_logged_and_the_rest_counted(written):
    for number in range(5):
        written.limited("refuse", text=f"refuse n={number}")
    assert written.texts == ["refuse n=0"]
    written.end_windows()
    assert written.texts == ["refuse n=0", "refuse n=4 left_out=3"]


def test_a_single_event_left_out_is_logged_as_it_is(written):
    written.limited("key", text="first")
    written.limited("key", text="second")
    written.end_windows()
    assert written.texts == ["first", "second"]


def test_nothing_left_out_leaves_nothing_to_flush(written):
    assert written.limits.due == math.inf
    written.limited("key", text="alone")
    assert 0 < written.limits.due - time.monotonic() <= WINDOW_S
    written.end_windows()
    assert written.texts == ["alone"]
    assert written.limits.due == math.inf


def test_a_flush_before_its_time_logs_nothing(written):
    written.limited("key", text="first")
    written.limited("key", text="second")
    due = written.limits.due
    written.flush(due - 0.001)
    assert written.texts == ["first"]
    assert written.limits.due == due


def test_a_flushed_event_opens_a_window_of_its_own(written):
    for text in ("first", "second"):
        written.limited("key", text=text)
    written.end_windows()
    written.limited("key", text="third")
    assert written.texts == ["first", "second"]
    assert written.limits.due < math.inf
    written.end_windows()
    assert written.texts == ["first", "second", "third"]


def test_events_and_sources_do_not_share_a_window(written):
    kinds = [("a", ""), ("b", ""), ("a", 1), ("a", 2)]
    for event, source in kinds * 2:
        written.limited(event, source, f"{event} {source}")
    assert written.texts == [f"{event} {source}" for event, source in kinds]
    written.flush(math.inf)
    assert sorted(written.texts) == sorted(f"{event} {source}" for event, source in kinds * 2)


def test_a_line_has_the_level_of_its_event(written):
    written.limited("key", text="first", level=WARNING)
    written.limited("key", text="second", level=WARNING)
    written.flush(math.inf)
    assert written.lines == [(WARNING, "first"), (WARNING, "second")]


def test_sources_beyond_the_most_share_a_window_and_no_memory_grows(written):
    for number in range(100 * MOST_SOURCES):
        written.limited("refuse", number, f"refuse peer={number}")
    assert len(written.texts) == MOST_SOURCES + 1
    assert len(written.limits._windows) == MOST_SOURCES + 1
    assert represented(written.texts) == {"refuse": MOST_SOURCES + 1}
    written.flush(math.inf)
    assert represented(written.texts) == {"refuse": 100 * MOST_SOURCES}
    assert not written.limits._windows


def represented(texts):
    """Return how many events the lines stand for, by their verb: each for itself and for those left out."""
    counted: Counter[str] = Counter()
    for text in texts:
        left_out = re.search(r" left_out=(\d+)$", text)
        counted[text.split()[0]] += 1 + int(left_out[1] if left_out else 0)
    return dict(counted)


EVENTS = st.tuples(st.sampled_from(["refuse", "full", "accept"]), st.integers(0, 2 * MOST_SOURCES))
STEPS = st.lists(st.one_of(EVENTS, st.sampled_from([0.0, 1.0, WINDOW_S, 3 * WINDOW_S])), max_size=300)


@given(STEPS)
def test_all_events_are_in_the_log_whatever_comes_between(steps):
    """Each number lets so many seconds pass, and flushes as the loop does."""
    written, now, wanted = Written(), [100.0], Counter[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
        for step in steps:
            if isinstance(step, float):
                now[0] += step
                if written.limits.due <= now[0]:
                    written.flush(now[0])
                assert written.limits.due > now[0], "a window that has ended keeps the loop busy"
            else:
                written.limited(step[0], step[1], f"{step[0]} peer={step[1]}")
                wanted[step[0]] += 1
        written.flush(math.inf)
    assert represented(written.texts) == wanted
    assert written.limits.due == math.inf
