from __future__ import annotations

import math
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.server.log import log
from echod.server.log.log import DEBUG, ERROR, INFO, WARNING, WINDOW, Log
from echod.server.log.sinks import File, Sink
from support.sockets import settings


@pytest.fixture
def open_log(tmp_path):
    """Return a function that opens a log to a file, with the settings given; `lines` reads what was logged."""
    logs = []

    def open_log(*overrides):
        made = Log(settings(*overrides), File(str(tmp_path / "log")))
        logs.append(made)
        return made

    yield open_log
    for one in logs:
        one.sink.close()


@pytest.fixture
def lines(tmp_path):
    """Return a function that reads the texts in the log."""
    return lambda: [line.split("]: ", 1)[1] for line in (tmp_path / "log").read_text().splitlines()]


@pytest.mark.parametrize(("level", "count"), [("error", 1), ("warning", 2), ("info", 3), ("debug", 4)])
def test_a_level_lets_through_what_is_as_grave_or_graver(open_log, lines, level, count):
    one = open_log(f"log_level={level}")
    for write in (one.error, one.warning, one.info, one.debug):
        write(write.__name__)
    assert lines() == ["error", "warning", "info", "debug"][:count]
    assert one.debugging == (level == "debug")


@pytest.mark.parametrize(
    ("overrides", "clients"),
    [((), True), (("log_clients=no",), False), (("log_level=warning",), False), (("log_level=debug",), True)],
)
def test_clients_are_logged_if_both_settings_ask_for_it(open_log, overrides, clients):
    assert open_log(*overrides).clients == clients


def test_control_characters_are_escaped_so_that_nobody_can_forge_a_line(open_log, lines):
    open_log().info("a\nb\r\x1b[2J\x00\x7f\u2028 'ü' \udcff")
    assert lines() == ["a\\nb\\r\\x1b[2J\\x00\\x7f\\u2028 'ü' \\udcff"]


@given(st.text(st.characters(min_codepoint=0)))
def test_any_text_is_one_printable_line(text):
    written = []

    class Memory(Sink):
        def write(self, _level, text):
            written.append(text)
            return True

    Log(settings(), Memory()).info(text)
    assert written[0].isprintable()
    written[0].encode()


def test_one_event_in_a_window_is_logged_and_the_rest_counted(open_log, lines):
    one = open_log()
    for number in range(5):
        one.limited(INFO, "key", f"refuse n={number}")
    assert lines() == ["refuse n=0"]
    one.flush(one.due)
    assert lines() == ["refuse n=0", "refuse n=4 left_out=3"]


def test_a_single_event_left_out_is_logged_as_it_is(open_log, lines):
    one = open_log()
    one.limited(INFO, "key", "first")
    one.limited(INFO, "key", "second")
    one.flush(one.due)
    assert lines() == ["first", "second"]


def test_nothing_left_out_leaves_nothing_to_flush(open_log, lines):
    one = open_log()
    assert one.due == math.inf
    one.limited(INFO, "key", "alone")
    assert 0 < one.due - time.monotonic() <= WINDOW
    one.flush(one.due)
    assert lines() == ["alone"]
    assert one.due == math.inf


def test_a_flush_before_its_time_logs_nothing(open_log, lines):
    one = open_log()
    one.limited(INFO, "key", "first")
    one.limited(INFO, "key", "second")
    due = one.due
    one.flush(due - 0.001)
    assert lines() == ["first"]
    assert one.due == due


def test_a_flushed_event_opens_a_window_of_its_own(open_log, lines):
    one = open_log()
    for text in ("first", "second"):
        one.limited(INFO, "key", text)
    one.flush(one.due)
    one.limited(INFO, "key", "third")
    assert lines() == ["first", "second"]
    assert one.due < math.inf


def test_an_event_after_the_window_tells_what_was_left_out_before(open_log, lines, monkeypatch):
    monkeypatch.setattr(log, "WINDOW", 0.0)
    one = open_log()
    one.limited(INFO, "key", "first")
    one._windows["key"] = (0.0, 2, INFO, "third")
    one.limited(INFO, "key", "fourth")
    assert lines() == ["first", "fourth left_out=2"]


def test_events_of_different_keys_do_not_share_a_window(open_log, lines):
    one = open_log()
    for key in ("a", "b", "a", "b"):
        one.limited(WARNING, key, f"event {key}")
    assert lines() == ["event a", "event b"]
    first_due = one.due
    one.flush(one.due)
    assert one.due >= first_due
    one.flush(one.due)
    assert sorted(lines()) == ["event a", "event a", "event b", "event b"]


def test_what_the_level_leaves_out_is_left_out_of_windows_too(open_log, lines):
    one = open_log("log_level=warning")
    for _ in range(3):
        one.limited(DEBUG, "key", "detail")
        one.limited(ERROR, "other", "trouble")
    one.flush(one.due)
    one.flush(one.due)
    assert lines() == ["trouble", "trouble left_out=1"]


def test_lost_lines_are_counted_and_the_count_is_logged(tmp_path):
    path = tmp_path / "log"
    sink = File(str(path))
    one = Log(settings(), sink)
    full = os.open("/dev/full", os.O_WRONLY)
    one.info("before")
    sink.fd, good = full, sink.fd
    for _ in range(3):
        one.info("lost")
    sink.fd = good
    one.info("after")
    one.info("later")
    texts = [line.split("]: ", 1)[1] for line in path.read_text().splitlines()]
    assert texts == ["before", "after", "log lost=3", "later"]
    sink.close()
    os.close(full)
