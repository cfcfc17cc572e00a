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
from typing import TYPE_CHECKING, NoReturn

from daemon import DaemonContext
from daemon.daemon import DaemonError
from lockfile import Error as LockError

from echod.cli.daemon import BOOT, INTERPRETER, PACKAGE
from echod.cli.inherited import above, reset_signals
from echod.cli.machine import warn
from echod.cli.preflight import no_room
from echod.common import scoreboard
from echod.common.config.settings import SETTINGS
from echod.common.errors import DONE, FAILED, EchodError, describe, end_of, last_words
from echod.common.items import write_items
from echod.common.machine import nameless_file
from echod.common.privileges import become
from echod.common.sockets import SD_LISTEN_FDS_START, Listener, bind_all

if TYPE_CHECKING:
    from echod.cli.pidfile import PidFile
    from echod.common.config.settings import Config
    from echod.common.launch import Launch

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
READY = 2  # newlines: one after the pid of the process that becomes the server, one when that is ready
KEPT = ("PATH", "LANG", "TZ")  # of the environment
KEPT_BY_RUN = (*KEPT, "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM")
# ld.so(8) resolves symbols now, once; otherwise every child does it again
LEAN = {"LD_BIND_NOW": "1", "LC_ALL": "C"}


def start(config: Config, launch: Launch, pid_file: PidFile) -> None:
    """Start a daemon; returns when clients can connect. Raises EchodError.

    The caller holds `pid_file.start()` and has seen that no daemon runs.
    """
    listeners = bind_all(list(config.listen), config, warn=warn)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a caller that ignores it would leave us no child to wait for
    become_subreaper()  # to learn how the daemon ended, if it does
    read_end, write_end = os.pipe()
    stderr = nameless_file("stderr")
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        become_daemon(config, launch, pid_file, listeners, write_end, stderr)
    os.close(write_end)
    for listener in listeners:
        listener.close()
    reply = b""
    while reply.count(b"\n") < READY and (more := os.read(read_end, 4096)):
        reply += more
    os.close(read_end)
    os.waitpid(pid, 0)
    if reply.count(b"\n") < READY:
        raise failure(reply.decode(errors="surrogateescape"), os.pread(stderr, 1 << 16, 0).decode(errors="replace"))
    os.close(stderr)


def become_subreaper() -> None:
    """Become the parent of the daemon when its first parent ends (prctl(2)), if this Python can call prctl(2)."""
    with contextlib.suppress(ImportError, OSError, AttributeError):  # without libffi there is no ctypes
        import ctypes  # noqa: PLC0415 - a Python may lack it

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def failure(reply: str, stderr: str) -> EchodError:
    """Tell why there is no daemon: from what it replied, or else from its last words and how it ended."""
    pid, _, rest = reply.partition("\n")
    code, _, reason = rest.partition(" ")
    if code.isdigit():
        return EchodError(reason, int(code))
    why = last_words(stderr)
    with contextlib.suppress(ChildProcessError, ValueError):  # no subreaper, or it ended before it was a daemon
        why.append(end_of(os.waitpid(int(pid), 0)[1]))
    return EchodError("; ".join(["the server did not start", *why]))


def become_daemon(
    config: Config, launch: Launch, pid_file: PidFile, listeners: list[Listener], pipe: int, stderr: int
) -> NoReturn:
    """Be the daemon: detach (UNP 13.4, TLPI 37.2, daemon(7)), lock, execute. Never returns.

    What fails goes down the pipe, after a line for the pid.
    """
    announced = False
    try:
        reset_signals()
        DaemonContext(
            detach_process=True,
            working_directory=config.directory,
            umask=config.umask,
            files_preserve=[pipe, stderr, pid_file.fd, *(listener.fd for listener in listeners)],
            signal_map={},
            initgroups=False,
        ).open()
        announced = bool(os.write(pipe, b"%d\n" % os.getpid()))
        board_fd = make_scoreboard(launch.board_file, config)
        pid_file.acquire()
        os.dup2(stderr, 2)  # until it is ready; then the server puts /dev/null there
        execute(config, launch.replace(board_fd=board_fd, pid_fd=pid_file.fd, ready_fd=pipe), listeners, KEPT)
    except (DaemonError, LockError, EchodError, OSError) as error:
        text = f"{getattr(error, 'code', FAILED)} {describe(error) if isinstance(error, OSError) else error}"
        with contextlib.suppress(OSError):
            pid_file.break_lock(launch.board_file)  # unless the launcher lives, and does so itself
        os.write(pipe, ("" if announced else "\n").encode() + text.replace("\n", " ").encode(errors="surrogateescape"))
    finally:
        os._exit(FAILED)


def run(config: Config, launch: Launch, pid_file: PidFile, passed: list[Listener]) -> NoReturn:
    """Become the server in the foreground, on the sockets that were passed or on new ones. Raises EchodError, OSError.

    The caller holds `pid_file.start()` and has seen that no daemon runs.
    """
    listeners = passed or bind_all(list(config.listen), config, warn=warn)
    reset_signals()
    os.chdir(config.directory)
    os.umask(config.umask)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    board_fd = make_scoreboard(launch.board_file, config)
    pid_file.acquire()
    execute(config, launch.replace(board_fd=board_fd, pid_fd=pid_file.fd), listeners, KEPT_BY_RUN)


def execute(config: Config, launch: Launch, listeners: list[Listener], kept: tuple[str, ...]) -> NoReturn:
    """Lay out the descriptors, from 3 on the listening sockets, and execute the server's image. Raises OSError."""
    addresses = tuple(listener.address for listener in listeners)
    free = SD_LISTEN_FDS_START + len(addresses)
    if launch.pid_fd < free:  # it cannot be moved: closing the old descriptor would drop the lock
        raise EchodError(f"listen: too many addresses, {len(addresses)}", FAILED)
    ready_fd = above(launch.ready_fd, free) if launch.ready_fd >= 0 else -1
    board_fd, settings_fd = above(launch.board_fd, free), above(write_settings(config), free)
    launch = launch.replace(addresses=addresses, board_fd=board_fd, ready_fd=ready_fd, settings_fd=settings_fd)
    move([listener.sock.detach() for listener in listeners])
    # 0 to 2 are close-on-exec when python-daemon opened them: the first client would become stdin
    for fd in (0, 1, 2, *range(SD_LISTEN_FDS_START, free), launch.pid_fd, board_fd, ready_fd, settings_fd):
        if fd >= 0:
            os.set_inheritable(fd, True)
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= LEAN
    environment |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(launch.addresses))}
    compile_server()
    if launch.gid >= 0 and may_execute(launch):
        drop_privileges(launch, free)
    os.execve(INTERPRETER[0], [*INTERPRETER, BOOT, *launch.to_items()], environment)  # noqa: S606 - no shell is the point


def may_execute(launch: Launch) -> bool:
    """Return True if the daemon's user may execute the server's image.

    Then it does, and its children may raise their oom_score_adj. An image that root executes, and that becomes the user
    itself, may not write to its own files in /proc (PR_SET_DUMPABLE in prctl(2)).
    """
    pid = os.fork()
    if not pid:
        code = FAILED
        try:
            become(launch.uid, launch.gid)
            files = [os.path.join(path, name) for path, _, names in os.walk(PACKAGE, onerror=stop) for name in names]
            sources = [os.__file__, *(file for file in files if file.endswith(".py"))]
            if os.access(INTERPRETER[0], os.X_OK) and all(os.access(file, os.R_OK) for file in sources):
                code = DONE
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == DONE


def stop(error: OSError) -> NoReturn:
    """Raise what os.walk would leave out."""
    raise error


def drop_privileges(launch: Launch, free: int) -> None:
    """Become the daemon's user, if that can be done; if not, the server tries and says why it cannot."""
    with contextlib.suppress(OSError):
        for fd in range(SD_LISTEN_FDS_START, free):
            os.fchown(fd, launch.uid, launch.gid)  # a socket has an owner: SO_REUSEPORT is for sockets of the same one
        become(launch.uid, launch.gid)


def write_settings(config: Config) -> int:
    """Return a file without a name that holds the settings, so that the server does not read the config again."""
    fd = nameless_file("settings")
    write_items(fd, [f"{name}={config.text(name)}" for name in SETTINGS])
    return fd


def move(fds: list[int]) -> None:
    """Move descriptors to the numbers from SD_LISTEN_FDS_START on, in this order. Raises OSError.

    One that has the number of another is moved out of the way first: no dup2 hits one that is still to be moved.
    """
    at = {fd: index for index, fd in enumerate(fds)}
    for index, number in enumerate(range(SD_LISTEN_FDS_START, SD_LISTEN_FDS_START + len(fds))):
        fd = fds[index]
        if fd == number:
            continue
        if (other := at.get(number, -1)) > index:
            fds[other] = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, SD_LISTEN_FDS_START + len(fds))
            at[fds[other]] = other
        os.dup2(fd, number)
        os.close(fd)


def compile_server() -> None:
    """Compile the server's image, as far as we may write there. In the server it would leave memory behind for good."""
    for part in ("", "common", "log", "session", "server"):
        compileall.compile_dir(os.path.join(PACKAGE, part), maxlevels=1 if part else 0, quiet=2)


def make_scoreboard(path: str, config: Config) -> int:
    """Make a new file: children of a daemon that was killed may still be writing to the old one. Raises EchodError.

    It is there, and says "starting", before the lock is taken that tells others to look for it.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.fchmod(fd, 0o644 & ~config.umask)
        scoreboard.initialize(fd, config.max_children, os.getpid())
    except OSError as error:
        raise no_room(path, error) from None
    return fd
