"""`start`, `run`, `stop`, `restart`: each returns its exit code. Raises EchodError, LockError or OSError."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from echod.cli import launch
from echod.cli.daemon import Daemon
from echod.cli.identity import identify
from echod.cli.paths import Paths
from echod.cli.pidfile import PidFile
from echod.common import scoreboard
from echod.common.errors import DONE, EchodError
from echod.common.sockets import SD_LISTEN_FDS_START

if TYPE_CHECKING:
    from argparse import Namespace

DRAIN = 10.0  # seconds, the default of drain_timeout
MARGIN = 5.0  # seconds that `stop` waits beyond drain_timeout
HIGHEST_FD = 0x7FFFFFFF


def start(args: Namespace) -> int:
    """Become a daemon and serve."""
    os.closerange(3, HIGHEST_FD)  # all that we inherited, whatever the limit on their number is now
    paths = Paths(args.config, args.options)
    config = paths.load()
    pid_file = PidFile(paths.pid_file)
    try:
        with pid_file.start():
            pid = pid_file.holder()
            if pid:
                print(f"echod: already running, pid {pid}")
                return DONE
            launch.start(config, paths.handover(), pid_file)
    except BaseException:
        paths.remove_stale()
        raise
    return DONE


def run(args: Namespace) -> int:
    """Serve in the foreground."""
    passed = launch.passed_sockets()
    os.closerange(SD_LISTEN_FDS_START + passed, HIGHEST_FD)
    paths = Paths(args.config, args.options)
    config = paths.load(log="stderr")
    pid_file = PidFile(paths.pid_file, lowest_fd=SD_LISTEN_FDS_START + passed + 4 * len(config.listen))
    try:
        with pid_file.start():
            pid = pid_file.holder()
            if pid:
                raise EchodError(f"already running, pid {pid}; stop it first, or use another pid_file")
            launch.run(config, paths.handover(log="stderr"), pid_file, passed)
    except BaseException:
        paths.remove_stale()
        raise


def stop(args: Namespace) -> int:
    """End the daemon in order."""
    paths = Paths(args.config, args.options)
    daemon = Daemon.find(PidFile(paths.pid_file))
    if daemon is None:
        paths.remove_stale()
        print("echod: not running")
        return DONE
    with daemon:
        timeout = stop_timeout(daemon) if args.timeout is None else args.timeout
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


def stop_timeout(daemon: Daemon) -> float | None:
    """Return how many seconds `stop` waits for a daemon to end, None when its drain is unlimited."""
    try:
        drain = daemon.board().words[scoreboard.DRAIN_MS]
    except EchodError:
        return DRAIN + MARGIN  # it is only just starting, or somebody has removed the scoreboard: stop it all the same
    return None if drain == scoreboard.NEVER else drain / 1000 + MARGIN


def restart(args: Namespace) -> int:
    """Stop, then start; what can be checked before is, so that a broken config stops nothing."""
    paths = Paths(args.config, args.options)
    identify(paths.load(), paths.handover())
    stop(args)
    return start(args)
