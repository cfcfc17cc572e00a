"""The log in a file, appended to and safe to rotate (TLPI 37.4)."""

from __future__ import annotations

from echod.common.cmodules import os
from echod.log.sink import Clock

APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class File(Clock):
    """A file, appended to: lines go whole into one write(2), so they stay whole whoever else writes."""

    def __init__(self, path: str) -> None:
        """Open the file, as the user that this process is. Raises OSError."""
        self._path = path
        self._gap = ""  # between a line that a full disk has torn and the next one
        self.fd = self._open()

    def _open(self) -> int:
        return os.open(self._path, APPEND, 0o640)

    def write_all(self, level: int, texts: list[str]) -> None:  # noqa: ARG002 - a file has no levels
        """Append a few lines."""
        try:
            prefix = self._prefix()
            lines = (self._gap + "".join([f"{prefix}{text}\n" for text in texts])).encode()
            written = os.write(self.fd, lines)
        except (OSError, MemoryError):
            self.lose(len(texts))
            return
        if written < len(lines):
            self.lose(len(texts) - lines.count(b"\n", len(self._gap), written))
        self._gap = "" if lines.endswith(b"\n", 0, written) else "\n"
        if self.lost and written == len(lines):
            self.report_lost()

    def reopen(self) -> None:
        """Open the path again; the old file is closed when the new one is open."""
        old, self.fd = self.fd, self._open()
        try:
            os.close(old)
        except OSError:
            self.lose(1)  # a network file system tells only now that it had no room (close(2))

    def close(self) -> None:
        """Close the file. Raises OSError."""
        os.close(self.fd)
