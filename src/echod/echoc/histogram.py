"""A distribution of times, drawn with characters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NUMBERS = 30  # columns before the bars, and a margin


def histogram_lines(times: Sequence[float], ascii_only: bool = False, width: int = 80) -> Iterator[str]:
    """Yield the distribution of `times` (seconds) as bars, in buckets of 1-2-5 steps and lines of `width` columns."""
    bar, micro = ("#", "us") if ascii_only else ("█", "µs")
    buckets: dict[int, int] = {}
    for seconds in times:
        step = _step(seconds)
        buckets[step] = buckets.get(step, 0) + 1
    most = max(buckets.values(), default=0)
    for step in range(min(buckets, default=0), max(buckets, default=-1) + 1):
        count = buckets.get(step, 0)
        length = math.ceil(max(0, width - NUMBERS) * count / most)
        line = f"{_bound(step, micro):>7} - {_bound(step + 1, micro):<7} {count:>8} {bar * length}"
        yield line[:width].rstrip()


def _step(seconds: float) -> int:
    """Return the number of the bucket: three to a decade, 0 beginning at 1 µs; what is faster is in it too."""
    step = 0
    while seconds >= _lower(step + 1):
        step += 1
    return step


def _lower(step: int) -> float:
    return (1e-6, 2e-6, 5e-6)[step % 3] * 10.0 ** (step // 3)


def _bound(step: int, micro: str) -> str:
    seconds = _lower(step)
    for unit, factor in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= factor:
            return f"{seconds / factor:g} {unit}"
    return f"{seconds * 1e6:g} {micro}"
