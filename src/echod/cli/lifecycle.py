"""`start`, `run`, `stop`, `restart`: each returns its exit code. Raises EchodError, LockError or OSError."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from echod.cli import launch as launcher
from echod.cli.context import Paths, identify
from echod.cli.daemon import Daemon
from echod.cli.inherited import close_inherited, lowest_fd, passed_sockets, tcp_listeners
from echod.cli.pidfile import PidFile
from echod.cli.preflight import check_start, warn
from echod.cli.service import leave_to_systemd
from echod.common import scoreboard
from echod.common.errors import DONE, NOT_RUNNING, USAGE, EchodError
from echod.common.sockets import SD_LISTEN_FDS_START

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

DRAIN = 10.0  # seconds, the default of drain_timeout
MARGIN = 5.0  # seconds that `stop` waits beyond drain_timeout


def start(args: Namespace) -> int:
    """Become a daemon and serve."""
    close_inherited(SD_LISTEN_FDS_START)
    paths = Paths(args.config, args.options)
    config = paths.load()
    launch = paths.launch(identify(paths, config))
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
                if serves(daemon):
                    return daemon.pid


def serves(daemon: Daemon) -> bool:
    """Wait until a daemon has started, or ended when it is draining; tells whether it serves. Raises EchodError."""
    try:
        if daemon.wait_started() != scoreboard.DRAINING:
            return True
    except EchodError as error:
        return error.code != NOT_RUNNING  # somebody may have removed its scoreboard
    print(f"echod: waiting for the end of process {daemon.pid}, which is draining", flush=True)
    daemon.wait(None)
    return False


def stop(args: Namespace) -> int:
    """End the daemon in order. One that is draining is waited for: a second SIGTERM would end its clients at once."""
    paths = Paths(args.config, args.options)
    daemon = Daemon.find(PidFile(paths.pid_file))
    if daemon is None:
        paths.remove_stale()
        print("echod: not running")
        return DONE
    with daemon:
        leave_to_systemd(daemon.pid, "stop")
        timeout, draining = limits(daemon)
        if args.timeout is not None:
            timeout = args.timeout
        if not draining:
            daemon.send(signal.SIGTERM)
        if not daemon.wait(timeout):
            if not args.force:
                raise EchodError(
                    f"process {daemon.pid} is still there after {timeout:g} s; `echod stop --force` ends it"
                )
            daemon.kill()
            daemon.wait(None)
    paths.remove_stale()
    return DONE


def limits(daemon: Daemon) -> tuple[float | None, bool]:
    """Return for how many seconds `stop` waits, None when the drain is unlimited, and whether it is draining."""
    try:
        draining = daemon.wait_started(MARGIN) == scoreboard.DRAINING
        drain = daemon.board().words[scoreboard.DRAIN_MS]
    except EchodError:
        return DRAIN + MARGIN, False  # somebody has removed the scoreboard, or it does not start: stop it all the same
    return None if drain == scoreboard.NEVER else drain / 1000 + MARGIN, draining


def restart(args: Namespace) -> int:
    """Stop, then start; what can be checked before is, so that a start that would fail stops nothing."""
    paths = Paths(args.config, args.options)
    config = paths.load()
    launch = paths.launch(identify(paths, config))
    daemon = Daemon.find(PidFile(paths.pid_file))
    if daemon:
        with daemon:
            leave_to_systemd(daemon.pid, "restart")
            check_start(config, launch, held_by(daemon))
    stop(args)
    return start(args)


def held_by(daemon: Daemon) -> list[str] | None:
    """Return the addresses that a daemon listens on, None when that cannot be told."""
    try:
        return daemon.board().copy().listen()
    except EchodError:
        return None
