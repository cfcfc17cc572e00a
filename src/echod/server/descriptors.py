"""Which descriptors this process may have open: its children close up to the highest."""

from __future__ import annotations

from echod.common.cmodules import os

MARGIN = 16  # for those opened later: a syslog that comes back, a log file that is opened again
WITHOUT_PROC = 4096


def highest_fd() -> int:
    """Return a number that no open descriptor is above, and not much more.

    Where close_range(2) is missing, os.closerange closes one by one: up to 2^31 that takes minutes. New descriptors
    get the lowest free number (open(2)), so the highest stays near what it is.
    """
    try:
        return max(map(int, os.listdir("/proc/self/fd"))) + MARGIN
    except (OSError, ValueError):
        return WITHOUT_PROC
