"""The properties of the daemon's own process: its name, its user, its descriptors, and its score for the OOM killer."""

from __future__ import annotations

from echod.common.calls import write
from echod.common.cmodules import os
from echod.common.errors import NOT_PERMITTED, EchodError, describe
from echod.common.privileges import become
from echod.server.failures import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.common.sockets import Listener
    from echod.log.log import Log

SCORE_FILE = b"/proc/self/oom_score_adj"
CHILDREN_SCORE = 500  # of a child, more than the daemon's
HIGHEST_SCORE = 1000
LATER_FDS = 16  # descriptors that may be opened later: a syslog that comes back, a log file that is opened again
FDS_WITHOUT_PROC = 4096


def set_name() -> None:
    """Set the name that ps, top and pgrep show (proc(5), comm). The file is root's once privileges are dropped."""
    try:
        fd = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, b"echod")
        os.close(fd)
    except OSError:
        return  # no /proc


def drop_privileges(uid: int, gid: int, listeners: list[Listener]) -> None:
    """Become the user and the group for good, without supplementary groups. Raises EchodError.

    Nothing is imported afterwards: the files may be unreadable by then.
    """
    try:
        for listener in listeners:
            give(listener, uid, gid)
        become(uid, gid)
    except OSError as error:
        hint = "start as an ordinary user, or with -o user=root"
        raise EchodError(f"cannot become user {uid}, group {gid}: {describe(error)}; {hint}", NOT_PERMITTED) from None


def give(listener: Listener, uid: int, gid: int) -> None:
    """Make the user the owner of a socket: only sockets of the same owner share a port (SO_REUSEPORT).

    Without CAP_CHOWN the daemon serves anyway. It then cannot be told to listen on an address that overlaps this one.
    """
    try:
        os.fchown(listener.fd, uid, gid)
    except OSError:
        return


def highest_fd() -> int:
    """Return a number that no open descriptor is above, and not much more.

    Where close_range(2) is missing, os.closerange closes one by one: up to 2^31 that takes minutes. New descriptors
    get the lowest free number (open(2)), so the highest stays near what it is.
    """
    try:
        return max(map(int, os.listdir("/proc/self/fd"))) + LATER_FDS
    except (OSError, ValueError):
        return FDS_WITHOUT_PROC


class OomScore:
    """The file /proc/self/oom_score_adj (proc(5)), open on `fd`: the daemon's `own` score, and `raised` while it forks.

    Short of memory, the kernel is to end a child before the daemon. Each child raises its own score, if it may open the
    file: a process may not that has dropped root's rights itself (PR_SET_DUMPABLE in prctl(2)). Then `is_inherited`:
    the daemon raises its own score before it forks, and lowers it again. In that moment the kernel may choose the
    daemon. Its file is opened before privileges are dropped, since it is root's after that.
    """

    def __init__(self, fd: int = -1) -> None:
        """Take the file that is open on `fd`; else open it, or /dev/null where /proc is missing. Raises OSError."""
        try:
            self.fd = fd if fd >= 0 else os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
            own = int(os.pread(self.fd, 16, 0))
        except (OSError, ValueError):
            self.fd, own = fd if fd >= 0 else os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC), 0
        self.own, self.raised = b"%d\n" % own, b"%d\n" % min(HIGHEST_SCORE, own + CHILDREN_SCORE)
        self.is_inherited = True

    def set(self, score: bytes, log: Log) -> None:
        """Give this score to the daemon, and so to the children that it forks from now on."""
        try:
            write(self.fd, score)
        except OSError as error:
            report(log, "oom_score_adj", error)

    def check(self) -> None:
        """Try it, as the daemon's user: where a score may not be lowered again it is left alone. Raises OSError."""
        try:
            os.close(os.open(SCORE_FILE, os.O_WRONLY))
            self.is_inherited = False
        except OSError:
            self.is_inherited = True
        try:
            os.write(self.fd, self.own)
        except OSError:
            self.fd = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
