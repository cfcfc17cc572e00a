"""A progress bar for those who wait longer than a second."""

from __future__ import annotations

import os
import stat
import sys
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

DELAY = 1.0  # seconds: a stream that is over sooner needs no bar


class Progress:
    """Shows bytes and rate on stderr; as a context manager, ends its line when left.

    Shown only if stderr is a terminal which neither carries the output nor is typed on.
    """

    def __init__(self, source: int, sink: int) -> None:
        self._wanted = sys.stderr is not None and sys.stderr.isatty() and not os.isatty(source) and not os.isatty(sink)
        self._total = remaining(source)
        self._start = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, _e: BaseException | None, _tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, received: int) -> None:
        """Note that so many bytes have come back."""
        if self._bar is not None:
            self._bar.update(received - self._bar.n)
        elif self._wanted and time.monotonic() - self._start > DELAY:
            self._bar = self._open(received)

    def _open(self, received: int) -> Any:
        try:
            from tqdm import tqdm  # noqa: PLC0415  most streams are over before it would be needed
        except ModuleNotFoundError:  # Debian only recommends it
            self._wanted = False
            return None
        tqdm.monitor_interval = 0  # no thread: the receiver calls often enough, or there is nothing to show
        columns, rows = _terminal_size()
        bar = tqdm(
            total=self._total,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            miniters=1,
            ncols=columns,
            nrows=rows,
            file=sys.stderr,
        )
        bar.start_t -= time.monotonic() - self._start
        bar.update(received)
        return bar


def _terminal_size() -> tuple[int, int]:
    """Return columns and rows; what the terminal does not know is as usual, for tqdm would show nothing."""
    columns, rows = os.get_terminal_size(sys.stderr.fileno())
    return columns or 80, rows or 24


def remaining(descriptor: int) -> int | None:
    """Return how many bytes of a regular file are after its offset; None where `descriptor` is none's."""
    try:
        status = os.fstat(descriptor)
        at = os.lseek(descriptor, 0, os.SEEK_CUR) if stat.S_ISREG(status.st_mode) else None
    except OSError:
        return None
    return None if at is None else max(0, status.st_size - at)
