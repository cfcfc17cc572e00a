"""`start`, `run`, `stop`, `restart`: each returns its exit code. Raises EchodError, LockError or OSError."""

from __future__ import annotations

import shlex
import signal
from typing import TYPE_CHECKING

from lockfile import Error as LockError

from echod.cli import launch as launcher
from echod.cli.context import Paths, identify
from echod.cli.daemon import Daemon
from echod.cli.inherited import close_inherited, lowest_fd, passed_sockets, refuse_too_many, tcp_listeners
from echod.cli.pidfile import PidFile
from echod.cli.preflight import check_log, check_start, refuse_stderr, warn
from echod.cli.service import leave_to_systemd
from echod.common import scoreboard
from echod.common.config.file import read_overrides
from echod.common.errors import (
    DONE,
    FAILED,
    NOT_PERMITTED,
    NOT_RUNNING,
    USAGE,
    ConfigError,
    EchodError,
    describe,
)  # fmt: skip
from echod.common.sockets import SD_LISTEN_FDS_START

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from echod.common.config.settings import Config
    from echod.common.launch import Launch

DRAIN_S = 10.0  # the default of drain_timeout, for a config that cannot be read
MARGIN_S = 5.0  # that a command waits beyond drain_timeout
FORCE_S = 15.0  # that `stop --force` waits if drain_timeout is never


def start(args: Namespace) -> int:
    """Become a daemon and serve."""
    close_inherited(SD_LISTEN_FDS_START)
    return launch_daemon(*prepare(args))


def prepare(args: Namespace) -> tuple[Paths, Config, Launch]:
    """Read the config, and return what a start needs. Raises EchodError for settings that no daemon can have."""
    paths = Paths(args.config, args.options)
    config = paths.load()
    refuse_stderr(paths, config)
    launch = paths.launch(identify(paths, config))
    check_log(paths, config, launch)
    refuse_too_many(config)
    return paths, config, launch


def launch_daemon(paths: Paths, config: Config, launch: Launch) -> int:
    """Launch a daemon, unless one serves. Raises EchodError."""
    warn(config, launch)
    pid = claim(
        paths,
        PidFile(paths.pid_file, lowest_fd=lowest_fd(config)),
        lambda pid_file: launcher.start(config, launch, pid_file),
    )
    if pid:
        print(f"echod: already running, pid {pid}")
    return DONE


def run(args: Namespace) -> int:
    """Serve in the foreground."""
    passed = passed_sockets()
    if 0 <= args.ready_fd - SD_LISTEN_FDS_START < passed:
        raise EchodError(f"--ready-fd {args.ready_fd}: is a socket that was passed", USAGE)
    close_inherited(SD_LISTEN_FDS_START + passed, args.ready_fd)
    paths = Paths(args.config, args.options)
    config = paths.load(log="stderr")
    listeners = tcp_listeners(passed)
    launch = paths.launch(identify(paths, config), log="stderr", ready_fd=args.ready_fd)
    check_log(paths, config, launch)
    refuse_too_many(config, passed)
    warn(config, launch)
    pid = claim(
        paths,
        PidFile(paths.pid_file, lowest_fd=lowest_fd(config, passed)),
        lambda pid_file: launcher.run(config, launch, pid_file, listeners),
    )
    raise EchodError(f"already running, pid {pid}; stop it first, or use another pid_file")


def claim(paths: Paths, pid_file: PidFile, start_server: Callable[[PidFile], None]) -> int:
    """Launch a daemon unless one serves; returns the pid of that one, 0 when it was launched. Raises EchodError."""
    while True:
        try:
            with pid_file.start() as running:
                if not running:
                    start_server(pid_file)
                    return 0
        except BaseException:
            paths.remove_stale()
            raise
        daemon = Daemon.find(PidFile(paths.pid_file))
        if daemon:
            with daemon:
                if serves(daemon, drain_limit(paths)):
                    return daemon.pid


def serves(daemon: Daemon, limit: float | None) -> bool:
    """Wait until a daemon has started, or until it has ended; return True if it serves. Raises EchodError.

    One that drains, or that has removed its scoreboard, ends: it is waited for at most `limit` seconds, None for ever.
    """
    what = "is draining"
    try:
        if daemon.wait_started() != scoreboard.DRAINING:
            return True
    except EchodError as error:
        if error.code == NOT_RUNNING:
            return False
        if daemon.listens():
            return True  # somebody has removed its scoreboard, or it is another version's
        what = f"accepts no connections ({error})"
    print(f"echod: waiting for the end of process {daemon.pid}, which {what}", flush=True)
    if not daemon.wait(limit):
        raise EchodError(f"process {daemon.pid} is still there after {limit:g} s; `echod stop --force` ends it")
    return False


def stop(args: Namespace) -> int:
    """End the daemon in order."""
    paths = Paths(args.config, args.options)
    daemon = Daemon.find(PidFile(paths.pid_file))
    if daemon is None:
        print("echod: not running")
    else:
        with daemon:
            leave_to_systemd(daemon.pid, "stop")
            end(daemon, args, drain_limit(paths))
    paths.remove_stale()
    return DONE


def end(daemon: Daemon, args: Namespace, limit: float | None) -> None:
    """Tell a daemon to drain, and wait for its end: `limit` seconds unless `args` has others. Raises EchodError.

    One that is draining is waited for: a second SIGTERM would end its clients at once.
    """
    if limit is None and args.force:
        limit = FORCE_S
    if args.timeout is not None:
        limit = args.timeout
    if not is_draining(daemon):
        daemon.send(signal.SIGTERM)
    if limit is None and not daemon.wait(MARGIN_S):
        print(f"echod: waiting for the clients of process {daemon.pid} (drain_timeout = never)", flush=True)
    if not daemon.wait(limit):
        if not args.force:
            raise EchodError(f"process {daemon.pid} is still there after {limit:g} s; `echod stop --force` ends it")
        daemon.kill()


def is_draining(daemon: Daemon) -> bool:
    """Wait until a daemon has started, and return True if it is draining."""
    try:
        return daemon.wait_started(MARGIN_S) == scoreboard.DRAINING
    except EchodError:
        return False  # somebody has removed the scoreboard, or it does not start: it is stopped anyway


def drain_limit(paths: Paths) -> float | None:
    """Return for how many seconds a command waits for a drain, by the config that it reads; None: without a limit.

    The scoreboard has the daemon's own limit, but the daemon's user may write anything to it.
    """
    try:
        drain = paths.load().drain_timeout
    except ConfigError:
        drain = DRAIN_S
    return None if drain is None else drain + MARGIN_S


def restart(args: Namespace) -> int:
    """Stop, then start; a start that would fail stops nothing."""
    close_inherited(SD_LISTEN_FDS_START)
    paths, config, launch = prepare(args)
    daemon = Daemon.find(PidFile(paths.pid_file))
    if daemon is None:
        return launch_daemon(paths, config, launch)
    with daemon:
        leave_to_systemd(daemon.pid, "restart")
        check_repeated(daemon, args)
        check_start(config, launch, daemon)
        end(daemon, args, drain_limit(paths))
        paths.remove_stale()
    try:
        return launch_daemon(paths, config, launch)
    except (EchodError, LockError, OSError) as error:
        code = getattr(error, "code", NOT_PERMITTED if isinstance(error, PermissionError) else FAILED)
        why = describe(error) if isinstance(error, OSError) else str(error)
        raise EchodError(
            f"{why}; process {daemon.pid} was stopped and none serves now: `echod start` tries again", code
        ) from None


def check_repeated(daemon: Daemon, args: Namespace) -> None:
    """Raise EchodError, USAGE, unless each -o that the daemon was started with is repeated.

    The exception is `pid_file`, which has found the daemon.
    """
    try:
        started_with = [
            (key, value) for text in daemon.overrides() for _, key, value in read_overrides([text], newlines=True)
        ]
    except EchodError:
        return  # it has no scoreboard that this version can read
    given = [(key, value) for _, key, value in read_overrides(args.options)]
    missing = {key: value for key, value in started_with if key != "pid_file" and (key, value) not in given}
    if missing:
        options = [*missing.items(), *((key, value) for key, value in given if key not in missing)]
        words = ["echod", *(["-c", args.config] if args.config else []), "restart"]
        words += [word for key, value in options for word in ("-o", f"{key}={value}")]
        key, value = next(iter(missing.items()))
        raise EchodError(
            f"restart: -o {shlex.quote(f'{key}={value}')}: process {daemon.pid} was started with it, and it is not "
            f"repeated; use `{shlex.join(words)}`",
            USAGE,
        )
