"""What a command inherits from its caller: descriptors, passed sockets among them, and the handling of signals."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
from typing import TYPE_CHECKING

from echod.cli.machine import warn
from echod.common.errors import ConfigError, EchodError
from echod.common.sockets import SD_LISTEN_FDS_START, adopt

if TYPE_CHECKING:
    from echod.common.config.settings import Config
    from echod.common.sockets import Listener

MOST_OF_A_NAME = 4  # addresses of one host
OTHER_DESCRIPTORS = 16  # pid file, scoreboard, log, pipes, and the connection of a client


def passed_sockets() -> int:
    """Return how many sockets were passed to this process, from descriptor 3 on (sd_listen_fds(3))."""
    count = os.environ.get("LISTEN_FDS", "")
    return int(count) if os.environ.get("LISTEN_PID") == str(os.getpid()) and count.isdigit() else 0


def tcp_listeners(count: int) -> list[Listener]:
    """Return the listening TCP sockets among those that were passed; warn about the others, and close them.

    Raises ConfigError if all of them are others: there is nothing to serve.
    """
    listeners, others = [], []
    for fd in range(SD_LISTEN_FDS_START, SD_LISTEN_FDS_START + count):
        try:
            listeners += adopt([None], [fd])
        except OSError as error:
            others.append(f"descriptor {fd}: {error.strerror}")
        except ConfigError as error:
            others.append(str(error).partition(";")[0])
    if others and not listeners:
        raise ConfigError(f"no listening TCP socket was passed: {'; '.join(others)}; see ListenStream= of the unit")
    for text in others:
        warn(f"{text}; it is not used")
    return listeners


def close_inherited(first: int, kept: int = -1) -> None:
    """Close what the caller of the command has left open, from `first` on but for `kept`, whatever their limit is now.

    One by one: without close_range(2) closerange(3) would try 2^31 of them.
    """
    try:
        inherited = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        os.closerange(first, kept)
        os.closerange(max(first, kept + 1), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        return
    for fd in inherited:
        if fd >= first and fd != kept:
            with contextlib.suppress(OSError):  # that of the listing
                os.close(fd)


def lowest_fd(config: Config, passed: int = 0) -> int:
    """Return the descriptor from which on the pid file's is clear of the listening sockets.

    `*` is two sockets, and an address is one. A name has as many as the resolver gives; MOST_OF_A_NAME are counted.
    """
    sockets = (2 if host == "*" else 1 if is_numeric(host) else MOST_OF_A_NAME for host, _ in config.listen)
    return SD_LISTEN_FDS_START + passed + sum(sockets) + 1


def is_numeric(host: str) -> bool:
    """Return True if a host is an address, and no name."""
    return ":" in host or not host.strip("0123456789.")


def refuse_too_many(config: Config, passed: int = 0) -> None:
    """Raise EchodError if the limit on descriptors leaves no room for the listening sockets."""
    wanted, most = lowest_fd(config, passed) + OTHER_DESCRIPTORS, resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if most != resource.RLIM_INFINITY and wanted > most:
        raise EchodError(
            f"listen: {len(config.listen)} addresses need {wanted} descriptors, and the limit is {most} "
            f"(RLIMIT_NOFILE); `ulimit -n {wanted}` raises it"
        )


def above(fd: int, lowest: int) -> int:
    """Return `fd`, or a duplicate that is not below `lowest`."""
    return fd if fd >= lowest else fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)


def reset_signals() -> None:
    """Block all signals until the server has its handlers, and undo what the caller of the command has ignored.

    From here to there a signal would end a process that holds the lock. Both survive the execve.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(signum, signal.SIG_DFL)
        except OSError:
            continue  # the C library keeps a few for itself
