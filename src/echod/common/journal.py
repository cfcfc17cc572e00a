"""Where system logs are: /dev/log, and the journal on descriptor 2, whose lines begin with `<N>` (sd-daemon(3))."""

from __future__ import annotations

from echod.common.cmodules import environ, os

DEV_LOG = "/dev/log"
SEVERITIES = (3, 4, 6, 7)  # RFC 5424, table 2: error, warning, informational, debug


def is_journal() -> bool:
    """Tell whether descriptor 2 is the journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return environ.get(b"JOURNAL_STREAM") == b"%d:%d" % (status.st_dev, status.st_ino)


def mark_error() -> str:
    """Return `mark` of an error."""
    return mark(0)


def mark_warning() -> str:
    """Return `mark` of a warning."""
    return mark(1)


def mark(level: int) -> str:
    """Return the `<N>` before a line for the journal (sd-daemon(3)), nothing when descriptor 2 is none."""
    return f"<{SEVERITIES[level]}>" if is_journal() else ""
