"""What the settings that a daemon was started with say now, for `status --processes`.

The command line of the process that holds the lock names the config and the log, and the daemon's user may have written
it. So the command itself opens, follows and waits for nothing of it. A process with the rights of that user does, and
it is killed if it takes longer than READ_S. If it is not clear which user this is, the settings are unknown.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time

from echod.cli.locks import POLL_INTERVAL_S, controllers
from echod.common.config import settings
from echod.common.items import Items, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.cli.proc import Process
    from echod.common.launch import Launch

READ_S = 2.0
END_S = 1.0
ANSWER_BYTES = 1 << 16
OWN_RIGHTS = -1  # instead of a uid: what this process has


class Expected(Items):
    """The settings that can be seen in /proc, with links resolved. Never changed."""

    directory: str = ""
    umask: str = ""
    log: str = ""
    max_children: int = 0


def expected(process: Process, launch: Launch, pid_file: str) -> Expected | None:
    """Return the settings of a daemon, or None if they cannot be read, or not in time."""
    uid = reader(process, pid_file)
    if uid is None:
        return None
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):  # whatever fails, the answer is empty
            become(uid, process.gids[0])
            os.write(write_end, encode(read(launch).to_items()))
        os._exit(0)
    os.close(write_end)
    try:
        answer = receive(read_end)
    finally:
        os.close(read_end)
        end(pid)
    try:
        return Expected.from_items(decode(answer))
    except ValueError:
        return None


def end(pid: int) -> None:
    """End a child and reap it. One that hangs in the kernel is left to init when the command ends."""
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + END_S
    while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_S)


def reader(process: Process, pid_file: str) -> int | None:
    """Return the uid with whose rights the settings are read, OWN_RIGHTS, or None if that is unclear.

    A process of root's is believed only if nobody else can lock or replace the pid file: any user can execute a setuid
    program with arguments of his choice.
    """
    if os.geteuid() != 0:
        return OWN_RIGHTS
    if len(set(process.uids)) != 1 or len(set(process.gids)) != 1:
        return None
    uid = process.uids[0]
    return uid if uid or not controllers(pid_file) else None


def become(uid: int, gid: int) -> None:
    """Take the rights of a user for good. Raises OSError."""
    if uid > 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


def read(launch: Launch) -> Expected:
    """Read the settings. Raises ConfigError, OSError, ValueError."""
    config = settings.load(launch.config_file, launch.overrides, launch.base, log=launch.log)
    return Expected(
        directory=os.path.realpath(config.directory),
        umask=f"{config.umask:04o}",
        log=os.path.realpath(config.log) if config.log.startswith("/") else config.log,
        max_children=config.max_children,
    )


def receive(fd: int) -> bytes:
    """Return what comes through a pipe until its end, ANSWER_BYTES at most, or what has come by the deadline."""
    answer, deadline = b"", time.monotonic() + READ_S
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    while len(answer) < ANSWER_BYTES and poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
        more = os.read(fd, ANSWER_BYTES)
        if not more:
            break
        answer += more
    return answer
