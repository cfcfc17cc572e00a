"""What a machine may lack that the server needs, and what echod does then. `cli.machine` has the same for commands.

    memfd_create(2)   Linux 3.17; a Python built on glibc < 2.27    a file without a name
    fallocate(2)      a file system, musl's C library, a sandbox    a byte is written to each page

docs/reliability.md has all of them in a table, with what is lost. It is separate so that the answer to "what if it is
missing?" has one place. The forking process loads this module, so it imports nothing.
"""

from __future__ import annotations

import errno

from echod.common.cmodules import os

PAGE_BYTES = 4096  # the smallest page that a machine has, and the smallest block that a file system allocates, or less
NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
DIRECTORIES = "/dev/shm", "/tmp", "/var/tmp", "/run"  # noqa: S108 - the name is random, and O_EXCL makes the file
# How a kernel, a file system or a sandbox says that it does not have a call.
MISSING = errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL, errno.EACCES


def nameless_file(name: str) -> int:
    """Return a descriptor of a new file that is in no directory. Raises OSError."""
    try:
        return os.memfd_create(name, os.MFD_CLOEXEC)
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in MISSING:
            raise
    return unlinked_file()


def unlinked_file() -> int:
    """Make a file where everyone may, and remove its name. Raises OSError that names the directories."""
    why = 0
    for directory in DIRECTORIES:
        path = f"{directory}/.echod-{os.urandom(8).hex()}"
        try:
            fd = os.open(path, NEW_FILE, 0o600)
        except OSError as error:
            why = error.errno or 0
        else:
            os.unlink(path)
            return fd
    raise OSError(why, f"no memfd_create(2), and no file in {', '.join(DIRECTORIES)}: {os.strerror(why)}")


def take_room(fd: int, at: int, end: int, first: int) -> None:
    """Take the room for a file from `at` to `end` (posix_fallocate(3)). Raises OSError, for example if there is none.

    Without fallocate(2) a zero is written to each page, at the offset `first` and then a page further each time: other
    processes write to the file, so the caller must name an offset at which no page holds anything.
    """
    try:
        os.posix_fallocate(fd, at, end - at)
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in MISSING:
            raise
        for page_at in range(first, end, PAGE_BYTES):
            os.pwrite(fd, b"\0", page_at)
