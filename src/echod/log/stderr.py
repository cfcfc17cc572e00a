"""The log on descriptor 2: a terminal, a file, a pipe, or the journal."""

from __future__ import annotations

import select

from echod.common.cmodules import environ, os
from echod.log.sink import PIPE_BUF, SEVERITIES, Clock


def is_journal() -> bool:
    """Tell whether descriptor 2 is the journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return environ.get(b"JOURNAL_STREAM") == b"%d:%d" % (status.st_dev, status.st_ino)


def mark(level: int) -> str:
    """Return the `<N>` before a line for the journal (sd-daemon(3)), nothing when descriptor 2 is none."""
    return f"<{SEVERITIES[level]}>" if is_journal() else ""


class Stderr(Clock):
    """Descriptor 2: with the `<N>` that journald understands when it is a journal (sd-daemon(3)), else the time."""

    def __init__(self) -> None:
        self._journal = is_journal()

    def write(self, level: int, text: str) -> bool:
        """Write one line, unless that would block: it is shared, so it cannot be made non-blocking."""
        line = f"<{SEVERITIES[level]}>{text}" if self._journal else self._prefix() + text
        poller = select.poll()
        poller.register(2, select.POLLOUT)
        try:
            if not poller.poll(0):
                self.lose(1)
                return False
            os.write(2, line.encode()[: PIPE_BUF - 1] + b"\n")
        except OSError:
            self.lose(1)
            return False
        if self.lost:
            self.report_lost()
        return True
