"""The pid file: lockfile's PIDLockFile, held by the kernel.

By itself a PIDLockFile is locked while the file exists, so a crash leaves it locked for good, and the number in it may
by then be an unrelated process's. Here two record locks (fcntl(2), F_SETLK) on the open file say what is the case:

    byte 0   the daemon runs: taken after its last fork, kept over execve, gone with the process
    byte 1   a start is under way: whoever means to take byte 0 or to remove the file holds this one first

F_GETLK names the process that holds a lock, so nobody has to trust what the file says; the number in it is for others.
Record locks go when the process closes *any* descriptor of the file: open it once, and close it last.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import stat
import struct
import tempfile
from typing import TYPE_CHECKING, Any

from lockfile import AlreadyLocked, LockFailed, NotLocked
from lockfile.pidlockfile import PIDLockFile

from echod.common.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

FLOCK = "hhqqi4x"  # struct flock of fcntl(2): type, whence, start, length, pid
RUNNING, STARTING = 0, 1  # the bytes
LARGEST = 64  # bytes; a larger file is no pid file, and not ours to remove
START_TIMEOUT = 60  # seconds to wait for a start that is under way


def default_path() -> str:
    """Return where the pid file is unless the config says so. Raises ConfigError when that place is not safe."""
    if os.geteuid() == 0:
        return "/run/echod/echod.pid"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return os.path.join(runtime, "echod", "echod.pid")
    directory = os.path.join(tempfile.gettempdir(), f"echod-{os.geteuid()}")
    with contextlib.suppress(FileNotFoundError):
        found = os.lstat(directory)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise ConfigError(f"{directory}: belongs to someone else or is open to others; set pid_file")
    return os.path.join(directory, "echod.pid")


class PidFile(PIDLockFile):
    """A pid file, as lockfile has it: acquire, release, is_locked, i_am_locking, read_pid, break_lock."""

    def __init__(self, path: str, lowest_fd: int = 3) -> None:
        """Name the file; `lowest_fd` keeps its descriptor clear of those that will be handed over below."""
        super().__init__(path, timeout=0)
        self.fd = -1
        self._lowest_fd = lowest_fd
        self._held = False

    def holder(self, byte: int = RUNNING) -> int:
        """Return the pid of the process that holds a lock, 0 when none does, -1 when it cannot be told.

        Raises OSError when the file cannot be read.
        """
        fd = self.fd
        if fd < 0:
            try:
                fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except (FileNotFoundError, NotADirectoryError):
                return 0
        try:
            # who would keep us from reading: a daemon's is a write lock, and takes the right to write the file
            asked = struct.pack(FLOCK, fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0)
            kind, _, _, _, pid = struct.unpack(FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
        finally:
            if fd != self.fd:
                os.close(fd)
        if kind == fcntl.F_UNLCK:
            return 0
        return pid if pid > 1 else -1  # an flock or OFD lock has no owner's pid; kill(-1) would end the machine

    @contextlib.contextmanager
    def start(self) -> Iterator[None]:
        """Hold byte 1: nobody else starts a daemon here or removes the file. Raises LockFailed."""
        try:
            self._begin()
        except OSError as error:
            raise LockFailed(f"{error.filename or self.path}: {error.strerror}") from error
        try:
            yield
        finally:
            self._close()

    def _begin(self) -> None:
        directory = os.path.dirname(self.path)
        os.makedirs(directory, 0o755 if os.geteuid() == 0 else 0o700, exist_ok=True)
        while True:
            self._open_file()
            try:
                self._wait_for_start()
                if self.holder() or self._is_current():
                    return
            except BaseException:
                self._close()
                raise
            self._close()  # a daemon removed it at its end, between our open and our lock

    def _open_file(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        low = os.open(self.path, flags, 0o644)
        try:
            if not stat.S_ISREG(os.fstat(low).st_mode):
                raise OSError(errno.EINVAL, "is not a regular file", self.path)
            self.fd = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, self._lowest_fd)
        finally:
            os.close(low)  # no lock is held yet

    def _wait_for_start(self) -> None:
        def give_up(_signum: int, _frame: object) -> None:
            pid = self.holder(STARTING)
            raise OSError(errno.ETIMEDOUT, f"process {pid} has been starting echod for {START_TIMEOUT} s", self.path)

        before = signal.signal(signal.SIGALRM, give_up)
        signal.alarm(START_TIMEOUT)
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX, 1, STARTING)
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self.fd), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd, self._held = -1, False

    def acquire(self, timeout: float | None = None) -> None:  # noqa: ARG002 - the lock is free, or a daemon's for long
        """Take byte 0 and write our pid. Raises AlreadyLocked, or LockFailed."""
        try:
            if self.fd < 0:
                self._open_file()
            fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, RUNNING)
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, b"%d\n" % os.getpid(), 0)
            self._held = True
            fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, STARTING)  # a start in the foreground ends here
        except BlockingIOError:
            raise AlreadyLocked(f"{self.path}: locked by process {self.holder()}") from None
        except OSError as error:
            raise LockFailed(f"{self.path}: {error.strerror}") from error

    def release(self) -> None:
        """Remove the file and let go of the lock. Raises NotLocked."""
        if not self._held:
            raise NotLocked(f"{self.path}: not locked by this process")
        os.unlink(self.path)
        self._close()

    def break_lock(self) -> None:
        """Remove the file, unless a daemon runs or is being started. Raises OSError when that is not permitted."""
        opened = self.fd < 0
        if opened:
            try:
                self.fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            except FileNotFoundError:
                return
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, STARTING)
            found = os.fstat(self.fd)
            is_ours = stat.S_ISREG(found.st_mode) and found.st_size <= LARGEST
            if is_ours and not self.holder() and self._is_current():
                os.unlink(self.path)
        except BlockingIOError:
            return
        finally:
            if opened:
                self._close()

    def is_locked(self) -> bool:
        """Tell whether a living process holds the lock."""
        return self._held or self.holder() != 0

    def i_am_locking(self) -> bool:
        """Tell whether this process holds the lock."""
        return self._held

    def __enter__(self) -> Any:
        """Acquire, for DaemonContext."""
        self.acquire()
        return self
