"""Short of memory, the kernel is to end a child before the daemon (proc(5), oom_score_adj).

The score is inherited at fork: the daemon raises its own while it forks, which costs a client less than a write of the
child's, and lowers it again. The file is opened before privileges are dropped: it is root's after that.
"""

from __future__ import annotations

from echod.common.cmodules import os

CHILDREN = 500  # more than the daemon
HIGHEST = 1000


class OomScore:
    """This process's oom_score_adj; where there is none, because /proc is missing, nothing happens."""

    __slots__ = ("_fd", "_own", "_raised")

    def __init__(self) -> None:
        self._fd, self._own, self._raised = -1, b"0", b"0"
        try:
            self._fd = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
            own = int(os.read(self._fd, 16))
        except (OSError, ValueError):
            return
        self._own, self._raised = b"%d" % own, b"%d" % min(HIGHEST, own + CHILDREN)

    def raise_score(self) -> None:
        """Give those who are forked from now on the children's score."""
        self._write(self._raised)

    def restore(self) -> None:
        """Go back to the daemon's own."""
        self._write(self._own)

    def _write(self, score: bytes) -> None:
        if self._fd >= 0:
            try:
                os.write(self._fd, score)
            except OSError:
                return  # tried again with the next client
