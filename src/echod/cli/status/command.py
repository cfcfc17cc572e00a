"""`status`: what the daemon is doing, with the exit codes of the LSB."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from echod.cli.context import Paths
from echod.cli.daemon import Daemon
from echod.cli.pidfile import PidFile
from echod.cli.status.openmetrics import metrics
from echod.cli.status.snapshot import snapshot
from echod.cli.status.text import for_people, terminal
from echod.common.errors import DONE, NOT_RUNNING, EchodError, printable
from echod.common.scoreboard import START_TIME

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from echod.common.scoreboard import Copy


Found = TypeVar("Found")
STDOUT_FD = 1
# Exit codes (LSB)
RUNNING = 0
DEAD = 1
STOPPED = 3
CANNOT_TELL = 4


def status(args: Namespace) -> int:
    """Print what the daemon is doing."""
    paths = Paths(args.config, args.options)
    if args.watch:
        from echod.cli.status.watch import watch  # noqa: PLC0415 - curses, for who asks for it only

        watch(lambda: state_or_why(paths), args.interval)
        return DONE
    columns, lines = terminal(STDOUT_FD) or (None, None)
    try:
        found = ask(PidFile(paths.pid_file), lambda daemon: look(args, daemon, columns, lines))
        left = found is None and is_left(paths)
    except (EchodError, OSError) as error:
        print(f"echod: {error}", file=sys.stderr)
        return CANNOT_TELL
    if found is None:
        print_none(args, paths, left=left)
        return DEAD if left else STOPPED
    print(found[0])
    return found[1]


def look(args: Namespace, daemon: Daemon, columns: int | None, lines: int | None) -> tuple[str, int]:
    """Return what there is to tell of a daemon, in the form asked for, and the exit code. Raises EchodError."""
    if args.processes:
        from echod.cli.status.examine import processes  # noqa: PLC0415 - as above

        return processes(daemon, columns)
    copy = daemon.board().copy()
    state = snapshot(copy)
    if args.json:
        return json.dumps(state), RUNNING
    if args.openmetrics:
        return metrics(state, copy.words[START_TIME] / 1e9), RUNNING
    return for_people(state, columns, None if args.all or not lines else lines - 1), RUNNING  # a line is the prompt's


def print_none(args: Namespace, paths: Paths, *, left: bool) -> None:
    """Print that no daemon runs; `left`: its pid file is there."""
    if args.json:
        print(json.dumps({"state": "dead" if left else "stopped"}))
    else:
        print(metrics(None) if args.openmetrics else not_running(paths, left=left))


def copy_of(pid_file: PidFile) -> Copy | None:
    """Return a copy of the scoreboard, None when no daemon runs. Raises EchodError."""
    return ask(pid_file, lambda daemon: daemon.board().copy())


def ask(pid_file: PidFile, look: Callable[[Daemon], Found]) -> Found | None:
    """Return what `look` finds at the daemon, None when none runs. Raises EchodError."""
    while daemon := Daemon.find(pid_file):
        with daemon:
            try:
                return look(daemon)
            except EchodError as error:
                if error.code != NOT_RUNNING:  # else it has ended meanwhile
                    raise
    return None


def state_or_why(paths: Paths) -> dict[str, Any] | str:
    """Return a snapshot, or why there is none."""
    try:
        copy = copy_of(PidFile(paths.pid_file))
        return not_running(paths, left=is_left(paths)) if copy is None else snapshot(copy)
    except (EchodError, OSError) as error:
        return printable(f"echod: {error}")


def is_left(paths: Paths) -> bool:
    """Tell whether a pid file is there that no process holds. Raises OSError."""
    return os.path.exists(paths.pid_file) and os.path.getsize(paths.pid_file) > 0


def not_running(paths: Paths, *, left: bool) -> str:
    """Return what people are shown when no process holds the pid file; `left`: there is one all the same."""
    if left:
        return f"echod: dead: it was killed or crashed, and has left {paths.pid_file}; `echod start` starts it again"
    return "echod: not running"
