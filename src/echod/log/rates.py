"""Rates of messages that repeat: of those alike, for each source, one in WINDOW seconds; the rest are counted.

The counts outlive a reload: whatever the log is by then, its lines and their `left_out` add up to all there were.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW = 5.0  # seconds
MOST_SOURCES = 64  # of which each has a window of its own; those beyond share one
OTHERS = "others"
FOREVER = float("inf")


class RateLimits:
    """The windows that are open. `due` is when the next one ends; `write` takes a level and a text."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, object], tuple[float, int, int, str]] = {}  # end, left out, level, last text
        self.due = FOREVER

    def limited(self, write: Callable[[int, str], None], level: int, event: str, source: object, text: str) -> None:
        """Write one of the events alike, or count it."""
        key = (event, source)
        if key not in self._windows and len(self._windows) >= MOST_SOURCES:
            key = (event, OTHERS)
        end, left_out, _, _ = self._windows.get(key, (0.0, -1, level, text))
        if left_out < 0:
            write(level, text)
            end = time.monotonic() + WINDOW
        self._windows[key] = (end, left_out + 1, level, text)
        self.due = min(self.due, end)

    def flush(self, write: Callable[[int, str], None], now: float) -> None:
        """Close the windows that end by `now`: write the last event left out, and how many more there were."""
        for key, (end, left_out, level, text) in list(self._windows.items()):
            if end <= now:
                del self._windows[key]
                if left_out:
                    write(level, f"{text} left_out={left_out - 1}" if left_out > 1 else text)
                    if now != FOREVER:
                        self._windows[key] = (now + WINDOW, 0, level, text)
        self.due = min((window[0] for window in self._windows.values()), default=FOREVER)
