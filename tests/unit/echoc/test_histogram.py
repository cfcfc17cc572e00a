from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from echod.echoc.histogram import histogram_lines

if TYPE_CHECKING:
    from support.kinds import Echoc


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
