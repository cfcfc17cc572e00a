from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from echod.common.config.kinds import duration, write_duration


def refused(parse, text):
    with pytest.raises(ValueError, match=r"^(is|has|names) ") as caught:
        parse(text)
    return str(caught.value)


TIME = duration(0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0),
        ("250ms", 0.25),
        ("30s", 30),
        ("30 s", 30),
        ("1.5min", 90),
        ("1h", 3600),
        (".5s", 0.5),
        ("8760h", 31536000),
        ("10m", 600),
        ("7d", 604800),
        ("1h30min", 5400),
        ("1h 30 min", 5400),
        ("1d2h3m4s5ms", 93784.005),
        ("10S", 10),
        ("1H30Min", 5400),
        ("250MS", 0.25),
    ],
)
def test_a_duration_is_read(text, seconds):
    assert TIME.parse(text) == seconds


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not a time"),
        ("s", "is not a time"),
        ("soon", "is not a time"),
        ("-1s", "is not a time"),
        (".s", "is not a time"),
        ("1..5s", "is not a time"),
        ("infs", "is not a time"),
        ("nans", "is not a time"),
        ("٣s", "is not a time"),
        ("1h30", "has no unit"),
        ("10", "has no unit"),
        ("10 sec", "has the unknown unit 'sec'"),
        ("1e3s", "has the unknown unit 'e'"),
        ("5 %", "has the unknown unit '%'"),
        ("1h1h", "has 'h' after a unit that is not larger"),
        ("30min1h", "has 'h' after a unit that is not larger"),
        ("1m1min", "has 'min' after a unit that is not larger"),
        ("1h never", "is not a time"),
        ("8761h", "is too long"),
        ("365d1ms", "is too long"),
        ("9" * 400 + "h", "is too long"),
    ],
)
def test_what_is_no_duration_is_refused(text, why):
    assert refused(TIME.parse, text) == why


def test_never_is_a_duration_in_any_case():
    assert TIME.parse("never") is TIME.parse("Never") is None


def test_a_duration_below_the_least_is_too_short():
    assert refused(duration(1).parse, "999ms") == "is too short"
    assert duration(1).allowed.endswith("or never; at least 1s and at most 365d")
    assert TIME.allowed.endswith("or never; at most 365d")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "never"),
        (0.0, "0s"),
        (0.25, "250ms"),
        (60.0, "1min"),
        (90.0, "90s"),
        (3600.0, "1h"),
        (5400.0, "90min"),
        (86400.0, "1d"),
    ],
)
def test_a_duration_is_written_in_the_largest_unit_that_holds_it_whole(seconds, text):
    assert write_duration(seconds) == text


@given(st.from_regex(r"[0-9]{0,4}(\.[0-9]{0,6})? ?(ms|s|min|m|h|d)", fullmatch=True))
@example("0.0004s")
@example("1.5ms")
@example("0.1h")
def test_a_duration_that_is_read_is_written_as_itself(text):
    try:
        seconds = TIME.parse(text)
    except ValueError:
        return
    assert TIME.parse(write_duration(seconds)) == seconds
