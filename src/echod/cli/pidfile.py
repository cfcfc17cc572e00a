"""The pid file (TLPI 55.6): lockfile's PIDLockFile, held by the kernel.

By itself a PIDLockFile is locked while the file exists. A crash leaves it locked for good, and the number in it may
then be an unrelated process's. Here two record locks (fcntl(2), F_SETLK) on the open file show the state:

    byte 0   the daemon runs: it takes this lock after its last fork, keeps it over execve, and loses it when it ends
    byte 1   a start is in progress: a process takes this lock before it takes byte 0 or removes the file

F_GETLK names the process that holds a lock; the number in the file is for other programs. A user who may read the file
may hold read locks on it: F_GETLK does not ask for them and nothing waits for them. A start makes a new file instead of
a stale one, and only its user can open that until byte 0 is locked. The directory may belong to the daemon's user, who
can put a link there: `open_plain` follows none, and `controllers` names the users who can replace the file.
The kernel drops record locks when the process closes *any* descriptor of the file: open it once, and close it last.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from typing import TYPE_CHECKING

from lockfile import AlreadyLocked, LockFailed
from lockfile.pidlockfile import PIDLockFile

from echod.cli.locks import POLL_INTERVAL_S, RUNNING_BYTE, holder, is_current, lock, open_plain, writer

if TYPE_CHECKING:
    from collections.abc import Iterator

STARTING_BYTE = 1
NUMBER = b"0123456789+- \t\r\n\0"  # a file system may leave NULs after a crash
DAMAGED_BYTES = 64  # of any other content, at most: a larger file is not a damaged pid file
READ_BYTES = 1 << 16
START_TIMEOUT_S = 60


class PidFile(PIDLockFile):
    """lockfile's PIDLockFile, whose `acquire` and `break_lock` go by the kernel's locks, and not by the file.

    `release`, `read_pid` and `i_am_locking` are lockfile's own. Its `is_locked` only says that the file exists, which a
    stale file does, too: `holder` says whether a daemon runs.
    """

    def __init__(self, path: str, lowest_fd: int = 3) -> None:
        """Name the file; its descriptor will not be below `lowest_fd`, where the server is handed its sockets."""
        super().__init__(path, timeout=0)
        self.fd = -1
        self._lowest_fd = lowest_fd
        self._made = False

    def holder(self, byte: int = RUNNING_BYTE) -> int:
        """Return the pid of the process that holds a write lock, 0 if none does, or -1 if the process is unknown.

        Raises OSError if the file exists and cannot be read, or if it is not a regular file.
        """
        return writer(self.fd, byte) if self.fd >= 0 else holder(self.path, byte)

    def _open_or_make(self) -> None:
        try:
            self.fd = open_plain(self.path, os.O_RDWR, self._lowest_fd)
        except FileNotFoundError:
            self.fd = open_plain(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, self._lowest_fd)
            self._made = True

    def _check_content(self) -> None:
        """Raise OSError if this is not a pid file: it must be neither overwritten nor removed."""
        content = os.pread(self.fd, READ_BYTES, 0)
        damaged = len(content) <= DAMAGED_BYTES and self.path.endswith(".pid")
        if len(content) == READ_BYTES or not (damaged or not content.strip(NUMBER)):
            raise OSError(errno.EINVAL, "is no pid file; move it away, or use another pid_file", self.path)

    @contextlib.contextmanager
    def start(self) -> Iterator[int]:
        """Hold byte 1 of a new file and give 0: no other process starts a daemon here or removes it. Raises LockFailed.

        If a daemon runs, hold nothing and give its pid (see `holder`): it may have ended in between.
        """
        try:
            before = os.umask(0o022)  # the caller's must not keep others from asking for the status
            try:
                os.makedirs(os.path.dirname(self.path), 0o755 if os.geteuid() == 0 else 0o700, exist_ok=True)
            finally:
                os.umask(before)
            deadline = time.monotonic() + START_TIMEOUT_S
            while (running := self._claim()) is None:
                self._close()
                if time.monotonic() > deadline:
                    raise OSError(errno.ETIMEDOUT, f"echod has been starting for {START_TIMEOUT_S} s", self.path)
                time.sleep(POLL_INTERVAL_S)
        except OSError as error:
            self._close()
            raise LockFailed(f"{error.filename or self.path}: {error.strerror}") from error
        try:
            yield running
        finally:
            self._close()

    def _claim(self) -> int | None:
        """Take byte 1 of a new file and return 0, or return a daemon's pid; None: try again. Raises OSError."""
        try:
            self._open_or_make()
        except FileExistsError:
            return None  # another start has just made it
        if running := self.holder():
            return running
        locked = lock(self.fd, STARTING_BYTE)
        if not locked and (self._made or self.holder(STARTING_BYTE)):
            return None  # another start is in progress
        if self._made or not is_current(self.fd, self.path):
            return 0 if is_current(self.fd, self.path) else None
        self._check_content()
        try:
            os.unlink(self.path)
        except PermissionError:
            if locked:
                return 0  # the directory is another's, but not the file
            raise
        return None

    def _close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd, self._made = -1, False

    def acquire(self, timeout: float | None = None) -> None:  # noqa: ARG002 - the lock is free, or a daemon's for long
        """Take byte 0 and write our pid. Raises AlreadyLocked, or LockFailed."""
        try:
            if self.fd < 0:
                self._open_or_make()
            if not lock(self.fd, RUNNING_BYTE):
                raise AlreadyLocked(f"{self.path}: locked by process {self.holder()}")
            if not is_current(self.fd, self.path):
                raise LockFailed(f"{self.path}: was removed meanwhile; try again")
            self._check_content()
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, b"%d\n" % os.getpid(), 0)
            if self._made:
                os.fchmod(self.fd, 0o644)
            fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, STARTING_BYTE)  # a start in the foreground ends here
        except OSError as error:
            raise LockFailed(f"{self.path}: {error.strerror}") from error

    def break_lock(self, *others: str) -> None:
        """Remove the file, and `others` with it, unless a daemon runs or is being started. Raises OSError."""
        opened = self.fd < 0
        try:
            if opened:
                self.fd = open_plain(self.path, os.O_RDWR, self._lowest_fd)
            in_use = self.holder() or (not lock(self.fd, STARTING_BYTE) and self.holder(STARTING_BYTE))
            if not in_use and is_current(self.fd, self.path):
                self._check_content()
                for path in (*others, self.path):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path)
        except FileNotFoundError:
            return
        finally:
            if opened:
                self._close()
