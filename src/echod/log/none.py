"""No log."""

from __future__ import annotations

from echod.log.sink import Sink


class NoLog(Sink):
    """Takes every line, and writes none."""

    def write(self, _level: int, _text: str) -> bool:
        """Do nothing."""
        return True

    def write_all(self, _level: int, _texts: list[str]) -> None:
        """Do nothing."""
