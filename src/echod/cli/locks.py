"""What the kernel knows of the locks on a pid file, and of the file: see `pidfile`, which takes them.

Commands that only ask for the daemon, such as `status`, load this module and not lockfile.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct

RUNNING_BYTE = 0
POLL_INTERVAL_S = 0.005
FLOCK = "hhqqi4x"  # struct flock of fcntl(2): type, whence, start, length, pid
OPEN_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
ANYBODY = -2  # instead of a uid


class LockedFile:
    """A pid file that a command asks for its holder, and does not lock."""

    def __init__(self, path: str) -> None:
        self.path = path

    def holder(self) -> int:
        """Return the pid of the daemon, as `holder` does. Raises OSError."""
        return holder(self.path, RUNNING_BYTE)


def holder(path: str, byte: int) -> int:
    """Return the pid of the process that holds a write lock, 0 if none does, or -1 if the process is unknown.

    Raises OSError if the file exists and cannot be read, or if it is not a regular file.
    """
    try:
        fd = open_plain(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    try:
        return writer(fd, byte)
    finally:
        os.close(fd)


def open_plain(path: str, flags: int, lowest_fd: int = 3) -> int:
    """Open a regular file that has one name, or make it with mode 0600. Raises OSError."""
    try:
        low = os.open(path, flags | OPEN_FLAGS, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            error.strerror = "is a symbolic link"
        raise
    try:
        found = os.fstat(low)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", path)
        if found.st_nlink > 1:
            raise OSError(errno.EINVAL, "has a second name, a hard link", path)
        return fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, lowest_fd)
    finally:
        os.close(low)  # no lock is held yet


def writer(fd: int, byte: int) -> int:
    """Return the pid of the other process that holds a write lock, 0 if none does, or -1 if the process is unknown.

    It ignores read locks: any user who may read the file may hold them.
    """
    asked = struct.pack(FLOCK, fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0)
    kind, _, _, _, pid = struct.unpack(FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    if kind == fcntl.F_UNLCK:
        return 0
    return pid if pid > 0 else -1  # an OFD lock has no owner's pid, nor has one of another pid namespace


def lock(fd: int, byte: int) -> bool:
    """Take a write lock; return False if another process holds a lock of any kind."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES (fcntl(2))
        return False
    return True


def is_current(fd: int, path: str) -> bool:
    """Return True if the open file is the one that the path names now."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def controllers(path: str) -> set[int]:
    """Return the uids, without root's, that can lock a file or replace it. Raises OSError.

    They are the owners of the file and of the directories above it.
    """
    path, found = os.path.abspath(path), set()
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        found.add(os.lstat(path).st_uid)
    while path != "/":
        path = os.path.dirname(path)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            directory = os.stat(path)
            found.add(directory.st_uid)
            if directory.st_mode & stat.S_IWOTH and not directory.st_mode & stat.S_ISVTX:
                found.add(ANYBODY)
    return found - {0}
