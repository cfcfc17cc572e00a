"""A start without its last step: `restart` stops nothing if the user, the directory, the log or an address fails.

Each step is tried as the user that will do it: the launcher binds, changes the directory and makes the scoreboard; the
server opens its log as its own user.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import tempfile
from typing import TYPE_CHECKING

from echod.cli import installation, machine
from echod.cli.context import user_name
from echod.cli.machine import lacks, without_syslog
from echod.cli.rehearsal import Rehearsal
from echod.common.config.file import DEFAULT_PATH
from echod.common.errors import FAILED, NOT_PERMITTED, ConfigError, EchodError, describe
from echod.common.journal import mark
from echod.common.machine import take_room
from echod.common.privileges import become
from echod.common.scoreboard import space
from echod.common.sockets import bind_all
from echod.log.log import WARNING
from echod.log.sinks import log_remedy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echod.cli.context import Paths
    from echod.cli.daemon import Daemon
    from echod.common.config.settings import Config
    from echod.common.launch import Launch

APPEND = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
BECOME = "become"
DIRECTORY = "directory"
LOG = "log"
CONFIG = "config"
BLOCK_BYTES = 512  # of st_blocks


def attempt(config: Config, launch: Launch, root: str = "") -> dict[str, str]:
    """Change to the directory in a child, become the daemon's user, open its log and its config; returns what failed.

    `root`: the root directory of a running daemon, whose sandbox may show it other files; empty: this process's.
    A log that does not exist is not made: `check` changes nothing.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a caller that ignores it would leave us no child to wait for
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if root:
                os.chroot(root)
            for step, why in failures(config, launch):
                os.write(write_end, f"{step}\0{why}\0".encode(errors="surrogateescape"))  # a path may hold a newline
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end, errors="surrogateescape", newline="") as reply:
        words = reply.read().split("\0")
    os.waitpid(pid, 0)
    return dict(zip(words[::2], words[1::2], strict=False))


def failures(config: Config, launch: Launch) -> Iterator[tuple[str, str]]:
    """Do what `attempt` does in its child, and yield each step that failed, and why."""
    try:
        os.chdir(config.directory)
    except OSError as error:
        yield DIRECTORY, describe(error)
    try:
        if launch.uid >= 0:
            become(launch.uid, launch.gid)
    except OSError as error:
        yield BECOME, describe(error)
        return
    for step, path, flags in ((LOG, config.log, APPEND), (CONFIG, launch.config_file or DEFAULT_PATH, os.O_RDONLY)):
        if path.startswith("/"):
            try:
                os.close(os.open(path, flags))
            except FileNotFoundError as error:
                if step == LOG and (why := cannot_make(path, error)):
                    yield step, describe(why)
            except OSError as error:
                yield step, describe(error)


def cannot_make(path: str, error: OSError) -> OSError | None:
    """Return why a file that is not there cannot be made, without making it; `error` is that of its opening."""
    directory = os.path.dirname(path)
    if os.access(directory, os.W_OK | os.X_OK):
        return None
    if not os.path.isdir(directory):
        return error
    code = errno.EROFS if os.statvfs(directory).f_flag & os.ST_RDONLY else errno.EACCES
    return OSError(code, os.strerror(code), path)


def refuse_stderr(paths: Paths, config: Config) -> None:
    """Raise ConfigError for a log that only `run` has: a daemon's stderr is /dev/null."""
    if config.log == "stderr":
        raise ConfigError(f"{paths.origin('log')}log: 'stderr' is for `echod run`; allowed: syslog, none, or a path")


def check_log(paths: Paths, config: Config, launch: Launch) -> None:
    """Raise ConfigError for a log that is the pid file or the scoreboard."""
    own = map(os.path.realpath, (launch.pid_file, launch.board_file))
    if config.log.startswith("/") and os.path.realpath(config.log) in own:
        raise ConfigError(
            f"{paths.origin('log')}log: '{config.log}' is the pid file or the scoreboard; use another file"
        )


def check_user(config: Config, launch: Launch, root: str = "") -> dict[str, str]:
    """Return what `attempt` does, but for a user that cannot be become. Raises EchodError, NOT_PERMITTED."""
    failed = attempt(config, launch, root)
    if BECOME in failed:
        raise EchodError(
            f"cannot become user {config.user}: {failed[BECOME]}; start it as an ordinary user, or with -o user=root"
            f"{' and no group' if config.group else ''}{lacks('CAP_SETGID', 'CAP_SETUID')}",
            NOT_PERMITTED,
        )
    return failed


def warn(config: Config, launch: Launch) -> None:
    """Warn when a reload or an upgrade will fail because of the daemon's user. Raises EchodError as `check_user`."""
    failed = check_user(config, launch)
    if no_syslog := without_syslog(config.log):
        machine.warn(no_syslog)
    warn_of_upgrades(launch)
    if CONFIG in failed:
        text = unreadable_config(failed[CONFIG], user_of(launch))
        print(f"{mark(WARNING)}echod: warning: {text}", file=sys.stderr)


def user_of(launch: Launch) -> str:
    """Return the name of the user that the daemon runs as."""
    return user_name(launch.uid if launch.uid >= 0 else os.geteuid())


def unreadable_config(why: str, user: str) -> str:
    """Return the warning about a config that the daemon's user cannot read; `why` begins with its path."""
    place = f"keep the config where user {user} can read it, such as {DEFAULT_PATH} with mode 644"
    return f"{why} for user {user}, so a reload would fail; {place}"


def warn_of_upgrades(launch: Launch) -> None:
    """Warn when the daemon's user cannot execute the installation, as an upgrade does."""
    if launch.uid > 0 and (why := installation.fault(launch.uid, launch.gid)):
        print(
            f"{mark(WARNING)}echod: warning: {why} for user {user_name(launch.uid)}: an upgrade will fail; "
            "use restart instead, or install echod where every user can read it",
            file=sys.stderr,
        )


def check_start(config: Config, launch: Launch, daemon: Daemon) -> None:
    """Rehearse a start next to the running daemon: all but what only the daemon prevents. Raises EchodError."""
    failed = check_user(config, launch)
    if DIRECTORY in failed:
        raise EchodError(f"cannot change to the directory: {failed[DIRECTORY]}", FAILED)
    if LOG in failed:
        remedy = log_remedy(config.log, user_of(launch), failed[LOG])
        raise EchodError(f"cannot open the log: {failed[LOG]} for user {user_of(launch)}; {remedy}", FAILED)
    check_room(launch.board_file, config.max_children)
    for listener in bind_all(list(config.listen), config, Rehearsal(daemon.pid, daemon.names())):
        listener.close()


def check_room(board_file: str, max_children: int) -> None:
    """Make a file as large as the scoreboard that will replace `board_file`, and remove it. Raises EchodError.

    The room of the present one counts: it is removed first.
    """
    directory = os.path.dirname(board_file)
    try:
        if os.path.isdir(board_file):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), board_file)
        with tempfile.TemporaryFile(dir=directory) as file:
            present = os.stat(board_file).st_blocks * BLOCK_BYTES if os.path.exists(board_file) else 0
            wanted = space(max_children) - present
            if wanted > 0:
                take_room(file.fileno(), 0, wanted, 0)
    except OSError as error:
        raise no_room(board_file, error) from None


def no_room(board_file: str, error: OSError) -> EchodError:
    """Return the error of a scoreboard that cannot be made."""
    what = f"{board_file}: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what += "; it needs room for max_children"
    return EchodError(what, NOT_PERMITTED if isinstance(error, PermissionError) else FAILED)
