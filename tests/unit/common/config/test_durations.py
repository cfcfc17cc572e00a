from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from echod.common.config.durations import duration, write_duration


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
    ],
)
def test_a_duration_is_read(text, seconds):
    assert TIME.parse(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "10",
        "10S",
        "10 sec",
        "-1s",
        "1e3s",
        ".s",
        "1..5s",
        "infs",
        "nans",
        "٣s",
        "8761h",
        "9" * 400 + "h",
        "1h30min",
    ],
)
def test_what_is_no_duration_is_refused(text):
    refused(TIME.parse, text)


def test_never_is_a_duration_where_it_makes_sense():
    assert TIME.parse("never") is None
    refused(duration(0, never=False).parse, "never")
    assert "never" not in duration(0, never=False).allowed


def test_a_duration_below_the_least_is_too_short():
    assert refused(duration(1).parse, "999ms") == "is too short"
    assert duration(1).allowed.endswith("at least 1s")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "never"), (0.0, "0s"), (0.25, "250ms"), (60.0, "1min"), (90.0, "90s"), (3600.0, "1h"), (5400.0, "90min")],
)
def test_a_duration_is_written_in_the_largest_unit_that_holds_it_whole(seconds, text):
    assert write_duration(seconds) == text


@given(st.from_regex(r"[0-9]{0,4}(\.[0-9]{0,6})? ?(ms|s|min|h)", fullmatch=True))
@example("0.0004s")
@example("1.5ms")
@example("0.1h")
def test_a_duration_that_is_read_is_written_as_itself(text):
    try:
        seconds = TIME.parse(text)
    except ValueError:
        return
    assert TIME.parse(write_duration(seconds)) == seconds
