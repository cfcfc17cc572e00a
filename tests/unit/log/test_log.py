from __future__ import annotations

import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.log.log import DEBUG, ERROR, INFO, LINES, Log
from echod.log.sinks import PIPE_BUF, File, Sink
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
    assert (one.level == DEBUG) == (level == "debug")


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


def test_many_lines_go_out_in_few_writes_and_in_order(tmp_path):
    sizes = []

    class Counted(File):
        def write_all(self, level, texts):
            sizes.append(len(texts))
            super().write_all(level, texts)

    one = Log(settings(), Counted(str(tmp_path / "log")))
    one.lines(INFO, [f"line {number}" for number in range(2 * LINES + 3)])
    one.lines(DEBUG, ["unseen"])
    one.lines(INFO, [])
    assert sizes == [LINES, LINES, 3]
    texts = [line.split("]: ")[1] for line in (tmp_path / "log").read_text().splitlines()]
    assert texts == [f"line {number}" for number in range(2 * LINES + 3)]
    one.sink.close()


def test_a_write_of_several_lines_fits_a_pipe():
    longest = "close peer=[fe80:1111:2222:3333:4444:5555:6666:7777%fifteen_letters]:65535 child=4194304"
    longest += f" reason=error=EPROTONOSUPPORT in={1 << 63} out={1 << 63} secs=31536000.000"
    prefix = "2026-11-21T14:02:41.000+0000 echod[4194304]: "
    assert LINES * len(f"{prefix}{longest}\n") < PIPE_BUF


def test_what_the_level_leaves_out_is_left_out_when_it_is_limited_too(open_log, lines):
    one = open_log("log_level=warning")
    for _ in range(3):
        one.limited(DEBUG, "key", "", "detail")
        one.limited(ERROR, "other", "", "trouble")
    one.limits.flush(one.write, math.inf)
    assert lines() == ["trouble", "trouble left_out=1"]


def test_the_counts_of_what_was_left_out_outlive_a_reload(open_log, lines):
    one = open_log()
    for number in range(3):
        one.limited(INFO, "refuse", "", f"refuse n={number}")
    one.configure(settings("log_level=debug"), one.sink)
    one.limited(INFO, "refuse", "", "refuse n=3")
    one.limits.flush(one.write, math.inf)
    assert lines() == ["refuse n=0", "refuse n=3 left_out=2"]


def test_the_summary_is_written_when_other_settings_apply(open_log, lines):
    one = open_log("log_summary=192.0.2.7")
    assert one.due() == math.inf
    assert one.summaries.add("192.0.2.7:7", "eof", 1, 1)
    assert one.due() == one.summaries.due < math.inf
    one.configure(settings(), one.sink)
    one.info("its sink is open")
    assert lines()[0].startswith("summary source=192.0.2.7 clients=1 in=1 out=1 eof=1 secs=")
    assert lines()[1:] == ["its sink is open"]
    assert one.due() == math.inf


def test_a_sink_that_other_settings_replace_is_closed(open_log, lines, tmp_path):
    one, after = open_log("log_summary=192.0.2.7"), File(str(tmp_path / "after"))
    one.summaries.add("192.0.2.7:7", "eof", 1, 1)
    before = one.sink.fd
    one.configure(settings(), after)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(before)
    one.info("after")
    assert len(lines()) == 1, "the summary is written to the sink that it was counted for"
    assert (tmp_path / "after").read_text().endswith("]: after\n")


def test_a_flush_writes_both_counts(open_log, lines):
    one = open_log("log_summary=192.0.2.7")
    one.limited(INFO, "refuse", "", "refuse n=0")
    one.limited(INFO, "refuse", "", "refuse n=1")
    one.summaries.add("192.0.2.7:7", "eof", 1, 1)
    one.flush(math.inf)
    assert [line.split()[:2] for line in lines()[1:]] == [["refuse", "n=1"], ["summary", "source=192.0.2.7"]]


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
