"""From a command to a server: bind, detach, lock, and execute the server's image in this process, pid kept.

`start` is a small service manager: it forks, the child becomes the daemon, and it waits on a notification pipe until
the server is ready or has failed. `run` executes the image in its own place.
"""

from __future__ import annotations

import compileall
import contextlib
import fcntl
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from daemon import DaemonContext
from daemon.daemon import DaemonError
from lockfile import Error as LockError

from echod.cli.identity import identify
from echod.cli.pidfile import PidFile
from echod.common.errors import FAILED, EchodError
from echod.common.scoreboard import Scoreboard
from echod.common.sockets import SD_LISTEN_FDS_START, Listener, bind_all

if TYPE_CHECKING:
    from echod.common.config.settings import Config
    from echod.common.handover import Handover

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BOOT = os.path.join(PACKAGE, "server", "boot.py")
INTERPRETER = [sys.executable, "-I", "-S"]
KEPT = ("PATH", "LANG", "TZ")  # of the environment
KEPT_BY_RUN = (*KEPT, "NOTIFY_SOCKET", "JOURNAL_STREAM")
# Less for a child to write to. ld.so(8) resolves symbols now, once, or every child does it again. malloc(3) has no fast
# bins: the first large block that a child asks for would have them consolidated, all over the heap.
LEAN = {"LD_BIND_NOW": "1", "GLIBC_TUNABLES": "glibc.malloc.mxfast=0", "LC_ALL": "C"}


def start(config: Config, handover: Handover, pid_file: PidFile) -> int:
    """Start a daemon; returns its pid when clients can connect. Raises EchodError.

    The caller holds `pid_file.start()` and has seen that no daemon runs.
    """
    identify(config, handover)
    listeners = bind_all(list(config.listen), config)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a caller that ignores it would leave us no child to wait for
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        become_daemon(config, handover, listeners, write_end)
    os.close(write_end)
    for listener in listeners:
        listener.close()
    reply = b""
    while not reply.endswith(b"\n") and (more := os.read(read_end, 4096)):
        reply += more
    os.close(read_end)
    os.waitpid(pid, 0)
    if reply.endswith(b"\n"):
        return pid_file.holder()
    code, _, reason = reply.decode(errors="surrogateescape").partition(" ")
    raise EchodError(reason or "the server ended before it was ready", int(code) if code.isdigit() else FAILED)


def become_daemon(config: Config, handover: Handover, listeners: list[Listener], pipe: int) -> NoReturn:
    """Be the daemon: detach, lock, execute. Never returns; what fails goes down the pipe."""
    # another PidFile than the launcher's: record locks are not inherited, and this one is opened after the last fork
    pid_file = PidFile(handover.pid_file, lowest_fd=SD_LISTEN_FDS_START + len(listeners))
    try:
        reset_signals()
        handover.board_fd = make_scoreboard(handover.board_file, config.umask)
        DaemonContext(
            detach_process=True,
            working_directory=config.directory,
            umask=config.umask,
            files_preserve=[pipe, handover.board_fd, *(listener.fd for listener in listeners)],
            pidfile=pid_file,
            signal_map={},
            initgroups=False,
        ).open()
        handover.ready_fd, handover.pid_fd = pipe, pid_file.fd
        execute(handover, listeners, KEPT)
    except (DaemonError, LockError, EchodError, OSError) as error:
        os.write(pipe, f"{getattr(error, 'code', FAILED)} {error}".replace("\n", " ").encode(errors="surrogateescape"))
    finally:
        os._exit(FAILED)


def run(config: Config, handover: Handover, pid_file: PidFile, passed: int) -> NoReturn:
    """Become the server in the foreground, on the sockets that were passed or on new ones. Raises EchodError, OSError.

    The caller holds `pid_file.start()` and has seen that no daemon runs.
    """
    identify(config, handover)
    listeners = [] if passed else bind_all(list(config.listen), config)
    reset_signals()
    os.chdir(config.directory)
    os.umask(config.umask)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    handover.board_fd = make_scoreboard(handover.board_file, config.umask)
    pid_file.acquire()
    handover.pid_fd = pid_file.fd
    handover.addresses = [None] * passed
    execute(handover, listeners, KEPT_BY_RUN)


def execute(handover: Handover, listeners: list[Listener], kept: tuple[str, ...]) -> NoReturn:
    """Lay out the descriptors, from 3 on the listening sockets, and execute the server's image. Raises OSError."""
    if listeners:
        handover.addresses = [listener.address for listener in listeners]
    free = SD_LISTEN_FDS_START + len(handover.addresses)
    if handover.pid_fd < free:  # it cannot be moved: closing the old descriptor would drop the lock
        raise EchodError(f"listen: too many addresses, {len(handover.addresses)}", FAILED)
    handover.board_fd = above(handover.board_fd, free)
    if handover.ready_fd >= 0:
        handover.ready_fd = above(handover.ready_fd, free)
    # first all out of the way, then each to its number: no dup2 hits one that is still to be moved
    for number, fd in enumerate([above(listener.fd, free) for listener in listeners], SD_LISTEN_FDS_START):
        os.dup2(fd, number)
    # 0 to 2 are close-on-exec when python-daemon opened them: the first client would become stdin
    for fd in (0, 1, 2, *range(SD_LISTEN_FDS_START, free), handover.pid_fd, handover.board_fd, handover.ready_fd):
        if fd >= 0:
            os.set_inheritable(fd, True)
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= LEAN
    environment |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(handover.addresses))}
    signal.pthread_sigmask(
        signal.SIG_BLOCK, signal.valid_signals()
    )  # until the server has its handlers: none gets lost
    for part in ("", "common", "server"):  # in the server it would cost 1 MiB, for good
        compileall.compile_dir(os.path.join(PACKAGE, part), maxlevels=1 if part else 0, quiet=2)
    os.execve(INTERPRETER[0], [*INTERPRETER, BOOT, *handover.to_words()], environment)  # noqa: S606 - no shell is the point


def passed_sockets() -> int:
    """Return how many sockets were passed to this process, from descriptor 3 on (sd_listen_fds(3))."""
    count = os.environ.get("LISTEN_FDS", "")
    return int(count) if os.environ.get("LISTEN_PID") == str(os.getpid()) and count.isdigit() else 0


def above(fd: int, lowest: int) -> int:
    """Return `fd`, or a duplicate that is not below `lowest`."""
    return fd if fd >= lowest else fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)


def make_scoreboard(path: str, umask: int) -> int:
    """Make a new file: children of a daemon that was killed may still be writing to the old one. Raises OSError.

    It is there, and says "starting", before the lock is taken that tells others to look for it.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    os.fchmod(fd, 0o644 & ~umask)
    Scoreboard(fd)
    return fd


def reset_signals() -> None:
    """Undo what the caller of the command may have ignored or blocked: both would survive the execve."""
    for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(signum, signal.SIG_DFL)
        except OSError:
            continue  # the C library keeps a few for itself
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
