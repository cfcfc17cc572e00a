"""A progress bar for streams that take longer than a second."""

from __future__ import annotations

import os
import stat
import sys
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

BAR_AFTER_S = 1.0  # a stream that ends sooner needs no bar


class Progress:
    """Shows bytes and rate on stderr. As a context manager, it ends its line when it is left.

    The bar appears only if stderr is a terminal, and neither the input nor the output is one.
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
        """Update the bar to `received` bytes."""
        if self._bar is not None:
            self._bar.update(received - self._bar.n)
        elif self._wanted and time.monotonic() - self._start > BAR_AFTER_S:
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
    """Return columns and rows, 80 and 24 if the terminal does not know them: with 0, tqdm shows nothing."""
    columns, rows = os.get_terminal_size(sys.stderr.fileno())
    return columns or 80, rows or 24


def remaining(descriptor: int) -> int | None:
    """Return how many bytes of a regular file follow its offset, or None for other files."""
    try:
        status = os.fstat(descriptor)
        at = os.lseek(descriptor, 0, os.SEEK_CUR) if stat.S_ISREG(status.st_mode) else None
    except OSError:
        return None
    return None if at is None else max(0, status.st_size - at)
