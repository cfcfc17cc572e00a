"""Whether the daemon's user can execute the installation that a command belongs to.

Root's daemon executes the server's image before it drops its privileges, and an upgrade executes it afterwards. So an
installation that only root may read (root's home, a closed umask) serves, and no upgrade of it ever succeeds.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path

from echod.cli.daemon import BOOT, PACKAGE
from echod.common.errors import describe
from echod.common.privileges import become

PARTS = "", "common", "common/config", "log", "session", "server", "server/lean"  # what the server imports


def fault(uid: int, gid: int) -> str:
    """Return why a user cannot execute this installation, or nothing. For an id of -1 that is the caller."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # otherwise the kernel may reap the child itself
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write_end, examine(uid, gid).encode(errors="surrogateescape"))
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as reply:
        why = reply.read().decode(errors="surrogateescape")
    os.waitpid(pid, 0)
    return why


def examine(uid: int, gid: int) -> str:
    """Become a user, and return why that user cannot execute the installation, or nothing."""
    try:
        if uid >= 0:
            become(uid, gid)
        if not os.access(sys.executable, os.X_OK):
            return f"{sys.executable}: {os.strerror(errno.EACCES)}"
        for path in (Path(os.__file__), *modules()):
            os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return describe(error)
    return ""


def modules() -> list[Path]:
    """Return the files that the server's image is made of. Raises OSError."""
    found = [Path(BOOT)]
    for part in PARTS:
        directory = Path(PACKAGE, part)
        found += [directory / name for name in sorted(os.listdir(directory)) if name.endswith(".py")]
    return found
