"""Short of memory, the kernel is to end a child before the daemon (proc(5), oom_score_adj).

The score is inherited at fork: the daemon raises its own while it forks, which costs a client less than a write of the
child's, and lowers it again. The file is opened before privileges are dropped: it is root's after that.
"""

from __future__ import annotations

from echod.common.calls import write
from echod.common.cmodules import os
from echod.server.failures import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.log.log import Log

CHILDREN = 500  # more than the daemon
HIGHEST = 1000


class OomScore:
    """The file, `fd`, and what to write to it: the daemon's `own` score, and `raised` while it forks."""

    def __init__(self, fd: int = -1) -> None:
        """Take the file that is open on `fd`; else open it, or /dev/null where /proc is missing. Raises OSError."""
        try:
            self.fd = fd if fd >= 0 else os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
            own = int(os.pread(self.fd, 16, 0))
        except (OSError, ValueError):
            self.fd, own = fd if fd >= 0 else os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC), 0
        self.own, self.raised = b"%d\n" % own, b"%d\n" % min(HIGHEST, own + CHILDREN)

    def set(self, score: bytes, log: Log) -> None:
        """Give this score to the daemon, and so to the children that it forks from now on."""
        try:
            write(self.fd, score)
        except OSError as error:
            report(log, "oom_score_adj", error)

    def check(self) -> None:
        """Try it, as the daemon's user: where a score may not be lowered again it is left alone. Raises OSError."""
        try:
            os.write(self.fd, self.own)
        except OSError:
            self.fd = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
