"""What a machine may lack that the commands need, and what echod does then. `common.machine` has the server's part.

    pidfd_open(2)         Linux 5.3; a Python built on an old glibc    a descriptor of /proc/PID, or the lock alone
    pidfd_send_signal(2)  Linux 5.1; the same                          kill(2), once the process is known to be there
    a capability          a root in a container                        the message of the refused call names it
    /dev/log              most containers                              `start` and `check` warn

docs/reliability.md has all of them in a table, with what is lost.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
import time

from echod.cli import proc
from echod.common.cmodules import signal
from echod.common.journal import DEV_LOG, mark_warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

MISSING = errno.ENOSYS, errno.EPERM, errno.EACCES  # how a kernel or a sandbox says that it does not have a call
LONGEST_POLL_MS = 2.0**31 - 1  # what poll(2) takes
LOOK_S = 0.02  # between two looks at a process that no pidfd stands for
ENDED = "ZX"  # states of a process in /proc/PID/stat
CONTAINER_FILES = "/run/.containerenv", "/.dockerenv", "/run/systemd/container"
CAPABILITIES = {"CAP_DAC_OVERRIDE": 1, "CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7}  # linux/capability.h


def warn(text: str) -> None:
    """Print a warning, one line on stderr."""
    print(f"{mark_warning()}echod: warning: {text}", file=sys.stderr)


class Handle:
    """Stands for a process, whichever process gets its number later. Raises ProcessLookupError if it has ended.

    A pidfd stands for a process (pidfd_open(2)). Without pidfd_open(2) an open descriptor of the directory /proc/PID
    does: once the process has ended, no file in it can be opened. Where /proc does not show the process either, only
    `is_same` tells whether the number still is its own.
    """

    def __init__(self, pid: int, is_same: Callable[[], bool]) -> None:
        self.pid, self._is_same = pid, is_same
        self._pidfd = self._directory = -1
        try:
            self._pidfd = os.pidfd_open(pid)
        except (AttributeError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in MISSING:
                raise
            with contextlib.suppress(OSError):  # no /proc, or hidepid (proc(5))
                self._directory = os.open(f"{proc.ROOT}/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if not is_same():
                raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor."""
        for fd in (self._pidfd, self._directory):
            if fd >= 0:
                os.close(fd)

    def send(self, signum: signal.Signals) -> None:
        """Send a signal. Raises ProcessLookupError if the process has ended, PermissionError."""
        if self._pidfd >= 0:
            try:
                signal.pidfd_send_signal(self._pidfd, signum)
            except (AttributeError, OSError) as error:
                if isinstance(error, OSError) and error.errno not in MISSING:
                    raise
            else:
                return
        # After these two questions the process may still end, and another process get its number, before kill(2).
        # For that the kernel would have to hand out all other numbers in between.
        if self.has_ended() or not self._is_same():
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        os.kill(self.pid, signum)

    def has_ended(self) -> bool:
        """Return True if the process has ended, as a zombie has."""
        if self._pidfd >= 0:
            return self._poll(0)
        if self._directory >= 0:
            return self._is_gone_from_proc()
        return not self._is_same()

    def wait(self, timeout: float | None) -> bool:
        """Wait until the process has ended; return False if the time, in seconds, is over first."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = LONGEST_POLL_MS if deadline is None else (deadline - time.monotonic()) * 1000
            wait_ms = min(max(0.0, left), LONGEST_POLL_MS)
            if self._poll(wait_ms) if self._pidfd >= 0 else self.has_ended():
                return True
            if left <= 0:
                return False
            if self._pidfd < 0:
                time.sleep(min(LOOK_S, wait_ms / 1000))

    def _poll(self, wait_ms: float) -> bool:
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        return bool(poller.poll(wait_ms))

    def _is_gone_from_proc(self) -> bool:
        try:
            fd = os.open("stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._directory)
        except OSError:
            return True
        try:
            return os.read(fd, 4096).rpartition(b")")[2].split()[0].decode() in ENDED
        except (OSError, IndexError):
            return True
        finally:
            os.close(fd)


def missing_capabilities(*names: str) -> list[str]:
    """Return which of these capabilities root lacks here (capabilities(7)); none for another user."""
    if os.geteuid() != 0:
        return []
    try:
        effective = int(proc.status(proc.SELF)["CapEff"], 16)
    except (OSError, KeyError, ValueError):
        return []
    return [name for name in names if not effective >> CAPABILITIES[name] & 1]


def owner_of(pid: int) -> set[int]:
    """Return the real user of a process; empty if that is unknown."""
    try:
        return {int(proc.status(pid)["Uid"].split()[0])}
    except (OSError, KeyError):
        return set()


def lacks(*names: str) -> str:
    """Return the end of a message about what these capabilities permit: it names those that root lacks here."""
    missing = missing_capabilities(*names)
    return f"; this root lacks {', '.join(missing)}" if missing else ""


def is_container() -> bool:
    """Return True if this is a container, as far as its maker says so."""
    return "container" in os.environ or any(map(os.path.exists, CONTAINER_FILES))


def without_syslog(log: str) -> str:
    """Return a warning if the log is syslog and no process reads it, or an empty text."""
    if log != "syslog" or os.path.exists(DEV_LOG):
        return ""
    mend = "in a container, `echod run` with log = stderr" if is_container() else "start a syslog daemon, or set log"
    return f"log = syslog, but {DEV_LOG} does not exist: log lines will be lost; {mend}"
