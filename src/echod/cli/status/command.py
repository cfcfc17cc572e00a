"""`status`: what the daemon is doing, with the exit codes of the LSB."""

from __future__ import annotations

import os
import sys

from echod.cli.context import Paths
from echod.cli.daemon import Daemon
from echod.cli.locks import LockedFile
from echod.cli.status.snapshot import snapshot
from echod.cli.status.text import for_people, one_line, terminal
from echod.common.errors import DONE, NOT_RUNNING, EchodError, printable
from echod.common.scoreboard import START_TIME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable
    from typing import Any, TypeVar

    from echod.cli.pidfile import PidFile
    from echod.common.scoreboard import Copy

    Found = TypeVar("Found")

STDOUT_FD = 1
FINDS = 20  # a process may end after it was found, but its user must not keep root busy
# Exit codes (LSB)
RUNNING = 0
DEAD = 1
STOPPED = 3
CANNOT_TELL = 4


def status(args: Namespace) -> int:
    """Print what the daemon is doing."""
    paths = Paths(args.config, args.options).with_roots_daemon()
    if args.watch:
        from echod.cli.status.watch import watch  # noqa: PLC0415 - curses, which only --watch needs

        watch(lambda: state_or_why(paths), args.interval)
        return DONE
    try:
        found = with_daemon(LockedFile(paths.pid_file), lambda daemon: report(args, daemon, paths.pid_file))
        left = found is None and has_stale_pid_file(paths)
    except (EchodError, OSError) as error:
        print(f"echod: {one_line(str(error))}", file=sys.stderr)
        return CANNOT_TELL
    if found is None:
        print_not_running(args, paths, left=left)
        return DEAD if left else STOPPED
    print(found[0])
    return found[1]


def report(args: Namespace, daemon: Daemon, pid_file: str) -> tuple[str, int]:
    """Return the state of a daemon in the requested form, and the exit code. Raises EchodError."""
    columns, lines = terminal(STDOUT_FD) or (None, None)
    if args.processes:
        from echod.cli.status.processes import processes  # noqa: PLC0415 - the launcher, which only --processes needs

        return processes(daemon, pid_file, columns, show_all=args.all)
    copy = daemon.board().copy()
    state = snapshot(copy)
    if args.json:
        return as_json(state), RUNNING
    if args.prometheus or args.openmetrics:
        started = copy.words[START_TIME] / 1e9
        return as_metrics(args, state, pid_file, started), RUNNING
    return for_people(state, columns, None if args.all or not lines else lines - 1), RUNNING  # one is the prompt's


def print_not_running(args: Namespace, paths: Paths, *, left: bool) -> None:
    """Print that no daemon runs; `left`: there is a stale pid file."""
    if args.json:
        print(as_json({"state": "dead" if left else "stopped"}))
    elif args.prometheus or args.openmetrics:
        print(as_metrics(args, None, paths.pid_file))
    else:
        print(not_running(paths, left=left))


def as_json(state: dict[str, Any]) -> str:
    """Return one JSON object."""
    import json  # noqa: PLC0415 - what only one form needs is loaded for that one

    return json.dumps(state)


def as_metrics(args: Namespace, state: dict[str, Any] | None, pid_file: str, started: float = 0.0) -> str:
    """Return the metrics in the requested format."""
    from echod.cli.status.metrics import metrics  # noqa: PLC0415 - as above

    return metrics(state, pid_file, started, openmetrics=args.openmetrics)


def copy_of(pid_file: PidFile | LockedFile) -> Copy | None:
    """Return a copy of the scoreboard, or None if no daemon runs. Raises EchodError."""
    return with_daemon(pid_file, lambda daemon: daemon.board().copy())


def with_daemon(pid_file: PidFile | LockedFile, read: Callable[[Daemon], Found]) -> Found | None:
    """Return what `read` returns for the running daemon, or None if no daemon runs. Raises EchodError."""
    for _ in range(FINDS):
        daemon = Daemon.find(pid_file)
        if daemon is None:
            return None
        with daemon:
            try:
                return read(daemon)
            except EchodError as error:
                if error.code != NOT_RUNNING:  # it has ended in between, and another may run now
                    raise
    raise EchodError(f"{pid_file.path}: another process has locked it at each of {FINDS} attempts")


def state_or_why(paths: Paths) -> dict[str, Any] | str:
    """Return a snapshot, or the reason why there is none."""
    try:
        copy = copy_of(LockedFile(paths.pid_file))
        return not_running(paths, left=has_stale_pid_file(paths)) if copy is None else snapshot(copy)
    except (EchodError, OSError) as error:
        return printable(f"echod: {error}")


def has_stale_pid_file(paths: Paths) -> bool:
    """Return True if there is a pid file, which is stale if no process holds it. Raises OSError."""
    return os.path.exists(paths.pid_file) and os.path.getsize(paths.pid_file) > 0


def not_running(paths: Paths, *, left: bool) -> str:
    """Return what people are shown when no process holds the pid file; `left`: there is one all the same."""
    if left:
        return f"echod: crashed or killed: {one_line(paths.pid_file)} is stale; `echod start` starts it again"
    return "echod: not running"
