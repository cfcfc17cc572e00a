from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.echoc import PATTERNS, Fault, Reply, Report, Row, Summary, Target
from echod.echoc.probe import Result
from echod.echoc.report import (
    HEADING,
    announcement,
    histogram_lines,
    reply_line,
    report_json,
    row_lines,
    size_text,
    summary_json,
    summary_lines,
    verdict,
)

if TYPE_CHECKING:
    from support.kinds import Echoc


FAULT = Fault("changed", "byte 5: expected 0x01, got 0x02", 5, "01", "02")
GOOD = Row(PATTERNS[0], (Result(1024, 0.5), Result(512, 0.25)))
BAD = Row(PATTERNS[1], tuple(Result(0, 1.0, FAULT if number < 7 else None) for number in range(9)))


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (1, "1"), (1023, "1023"), (1024, "1KiB"), (1536, "1.5KiB"), (64 << 20, "64MiB"), (5 << 50, "5120TiB")],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


def test_much_is_announced() -> None:
    assert announcement(64 << 20, 1, PATTERNS) == ""
    assert announcement(1 << 30, 1, PATTERNS[1:2]) == ""
    text = announcement(1 << 30, 2, PATTERNS[1:2])
    assert text == "will send and read back 2GiB (1 pattern of 2 connections); use -s or -P to reduce this"
    assert announcement(64 << 20, 50, PATTERNS).startswith(
        "will send and read back 18.76GiB (8 patterns of 50 connections)"
    )


def test_a_good_row_is_one_line_below_the_heading() -> None:
    (line,) = row_lines(GOOD)
    assert line.split() == ["byte", "2", "1.5KiB", "0.500", "3KiB/s", "ok"]
    assert line.index("ok") == HEADING.index("result")


def test_a_row_tells_of_five_faults_and_how_many_more() -> None:
    first, *wrong, last = row_lines(BAD)
    assert first.endswith("  7 of 9 WRONG")
    assert wrong == [f"    connection {number}: {FAULT.message}" for number in range(1, 6)]
    assert last == "    and 2 more (--json lists all)"


def test_the_verdict_tells_how_to_repeat_the_run() -> None:
    target = Target("localhost", 7)
    assert verdict(Report(target, 11, 64, [GOOD])) == (
        "localhost port 7: ok: every byte returned, every connection closed in order (--seed 11)"
    )
    assert verdict(Report(target, 11, 64, [GOOD, BAD])) == "localhost port 7: WRONG in 16KiB (--seed 11)"


def test_the_json_of_a_report_has_every_fault() -> None:
    report = json.loads(report_json(Report(Target("localhost", 7), 11, 64, [GOOD, BAD])))
    good, bad = report.pop("patterns")
    assert report == {"host": "localhost", "port": 7, "seed": 11, "size": 64, "ok": False}
    assert good == {"pattern": "byte", "connections": 2, "bytes": 1536, "seconds": 0.5, "faults": []}
    assert [fault["connection"] for fault in bad["faults"]] == [1, 2, 3, 4, 5, 6, 7]
    assert bad["faults"][0] == {
        "connection": 1,
        "kind": "changed",
        "message": FAULT.message,
        "offset": 5,
        "expected": "01",
        "got": "02",
    }


def test_a_reply_is_a_time_a_loss_or_a_fault() -> None:
    assert reply_line(Reply(3, 0.0012345), 56, "::1") == "56 bytes from ::1: seq=3 time=1.234 ms"
    assert reply_line(Reply(4, None, Fault("stopped", "nothing came")), 56, "::1") == "lost: seq=4: nothing came"
    assert reply_line(Reply(5, None, FAULT), 56, "::1") == f"wrong: seq=5: {FAULT.message}"


def test_the_summary_of_a_ping() -> None:
    summary = Summary()
    for reply in (Reply(1, 0.001), Reply(2, 0.003), Reply(3, None, FAULT), Reply(4, None, Fault("reset", ""))):
        summary.add(reply)
    assert list(summary_lines(summary, "::1")) == [
        "--- ::1 echo statistics ---",
        "4 sent, 2 received, 1 lost (25%), 1 wrong",
        "rtt min/avg/max/mdev = 1.000/2.000/3.000/1.000 ms",
        "rtt p50/p90/p99 = 1.000/3.000/3.000 ms",
    ]
    assert json.loads(summary_json(summary))["rtt"]["mdev"] == 0.001


def test_the_summary_of_nothing() -> None:
    assert list(summary_lines(Summary(), "::1"))[1:] == ["0 sent, 0 received, 0 lost (0%), 0 wrong"]
    assert json.loads(summary_json(Summary()))["rtt"] is None


def test_histogram(echoc: Echoc, echo_server: tuple[str, int]) -> None:
    result = echoc("--ping", "-c", 20, "-i", 0, "--histogram", *echo_server, env={"PYTHONIOENCODING": "ascii"})
    assert result.returncode == 0
    bars = re.findall(rb"^ *[\d.]+ (?:us|ms|s) - [\d.]+ (?:us|ms|s) +(\d+)( #+)?$", result.stdout, re.MULTILINE)
    assert sum(int(count) for count, _ in bars) == 20


@given(st.lists(st.floats(min_value=1e-9, max_value=1000), max_size=50))
def test_histogram_counts_every_time_in_its_bucket(times: list[float]) -> None:
    factor = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}
    total = 0
    for line in histogram_lines(times):
        low, low_unit, _, high, high_unit, count = line.split()[:6]
        bounds = float(low) * factor[low_unit], float(high) * factor[high_unit]
        assert bounds[0] < bounds[1]
        within = [t for t in times if bounds[0] <= max(t, 1e-6) < bounds[1]]
        assert abs(int(count) - len(within)) <= sum(math.isclose(t, bound) for t in times for bound in bounds)
        total += int(count)
    assert total == len(times)


@given(st.lists(st.floats(min_value=1e-6, max_value=100), min_size=1, max_size=50), st.integers(1, 300))
def test_it_fits_the_terminal_and_uses_it(times: list[float], width: int) -> None:
    lines = list(histogram_lines(times, width=width))
    assert max(map(len, lines)) <= width
    if width > 40:
        assert max(map(len, lines)) >= width - 3
