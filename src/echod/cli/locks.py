"""Record locks (fcntl(2)) on a file in a directory that may belong to somebody else: nothing there is followed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct

FLOCK = "hhqqi4x"  # struct flock of fcntl(2): type, whence, start, length, pid
OPEN = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
ANYBODY = -2  # in place of a uid


def open_plain(path: str, flags: int, lowest_fd: int = 3) -> int:
    """Open a regular file that has one name, or make it with mode 0600. Raises OSError."""
    try:
        low = os.open(path, flags | OPEN, 0o600)
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
    """Return the pid of the other process that holds a write lock, 0 when none does, -1 when it cannot be told.

    Read locks are not asked for: whoever may read the file may hold them.
    """
    asked = struct.pack(FLOCK, fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0)
    kind, _, _, _, pid = struct.unpack(FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    if kind == fcntl.F_UNLCK:
        return 0
    return pid if pid > 0 else -1  # an OFD lock has no owner's pid, nor has one of another pid namespace


def lock(fd: int, byte: int) -> bool:
    """Take a write lock; False when another process holds a lock of any kind."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES (fcntl(2))
        return False
    return True


def is_current(fd: int, path: str) -> bool:
    """Tell whether the open file is the one that the path names now."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def controllers(path: str) -> set[int]:
    """Return the uids, root's aside, that can lock a file or put another in its place. Raises OSError.

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
