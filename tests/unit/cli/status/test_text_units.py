from __future__ import annotations

import pytest

from echod.cli.status.text import per_second, size, span


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1 << 20, "1.0 MiB"), (5 << 40, "5.0 TiB")],
)
def test_sizes_are_for_people(count, text):
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0.2s"), (61, "1min 1s"), (3600, "1h 0min"), (90061, "1d 1h"), (59, "59.0s")]
)
def test_spans_are_for_people(seconds, text):
    assert span(seconds) == text


def test_rates_are_of_bytes_or_of_things_or_none():
    assert per_second(None) == per_second(None, "B") == ""
    assert per_second(1.25) == " (1.2/s)"
    assert per_second(2048.0, "B") == " (2.0 KiB/s)"
