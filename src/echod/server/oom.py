"""Short of memory, the kernel is to end a child before the daemon (proc(5), oom_score_adj).

The score is inherited at fork: the daemon raises its own while it forks, which costs a client less than a write of the
child's, and lowers it again. The file is opened before privileges are dropped: it is root's after that.
"""

from __future__ import annotations

from echod.common.cmodules import os

CHILDREN = 500  # more than the daemon
HIGHEST = 1000


class OomScore:
    """This process's oom_score_adj: its `own`, and that of its children, `raised`."""

    __slots__ = ("_fd", "own", "raised")

    def __init__(self) -> None:
        """Open the file, or /dev/null where there is none, because /proc is missing. Raises OSError."""
        try:
            self._fd = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
            own = int(os.read(self._fd, 16))
        except (OSError, ValueError):
            self._fd, own = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC), 0
        self.own, self.raised = b"%d" % own, b"%d" % min(HIGHEST, own + CHILDREN)

    def set(self, score: bytes) -> None:
        """Set it, to `own` or `raised`, if that is permitted."""
        try:
            os.write(self._fd, score)
        except OSError:
            return  # tried again with the next client
