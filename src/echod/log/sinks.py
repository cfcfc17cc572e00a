"""What a log writes to. `write` never blocks and never raises; lines that could not be written are counted.

The count is logged as soon as a line goes through.
"""

from __future__ import annotations

import time

from echod.common.cmodules import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

SEVERITIES = (3, 4, 6, 7)  # RFC 5424, table 2: error, warning, informational, debug
PIPE_BUF = 4096  # bytes that a pipe takes whole, or that poll(2) says it has room for (pipe(7))


class Sink:
    """What a log writes to: each kind has one of `write` and `write_all`. They are given a level of `log`."""

    lost = 0  # since that was reported
    total: ClassVar[memoryview[int] | list[int]] = [0]  # of all sinks: the server has it on the scoreboard

    def lose(self, lines: int) -> None:
        """Count lines that could not be written."""
        self.lost += lines
        self.total[0] += lines

    def write(self, level: int, text: str) -> bool:
        """Write one line; False when it was lost, and counted."""
        before = self.lost
        self.write_all(level, [text])
        return self.lost <= before

    def write_all(self, level: int, texts: list[str]) -> None:
        """Write a few lines, at most PIPE_BUF bytes in all."""
        for text in texts:
            self.write(level, text)

    def reopen(self) -> None:
        """Open it again. Raises OSError."""

    def close(self) -> None:
        """Close it."""

    def report_lost(self) -> None:
        """Tell, now that a line has gone through, how many have not."""
        lost, self.lost = self.lost, 0
        if not self.write(1, f"log lost={lost}"):
            self.lost = lost


class Clock(Sink):
    """A sink whose lines begin with the local time in ISO 8601."""

    @staticmethod
    def _prefix() -> str:
        now = time.time()
        moment = time.localtime(now)
        stamp, zone = time.strftime("%Y-%m-%dT%H:%M:%S", moment), time.strftime("%z", moment)
        return f"{stamp}.{int(now % 1 * 1000):03d}{zone} echod[{os.getpid()}]: "
