"""`status`: what the daemon is doing, with the exit codes of the LSB."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from echod.cli.daemon import Daemon
from echod.cli.paths import Paths
from echod.cli.pidfile import PidFile
from echod.cli.status.snapshot import snapshot
from echod.cli.status.text import for_people
from echod.common.errors import NOT_RUNNING, EchodError

if TYPE_CHECKING:
    from argparse import Namespace

RUNNING, DEAD, STOPPED, CANNOT_TELL = 0, 1, 3, 4  # exit codes (LSB)


def status(args: Namespace) -> int:
    """Print what the daemon is doing."""
    paths = Paths(args.config, args.options)
    try:
        state = state_of(PidFile(paths.pid_file))
        if state is None:
            left = os.path.exists(paths.pid_file) and os.path.getsize(paths.pid_file) > 0
            print(json.dumps({"state": "dead" if left else "stopped"}) if args.json else not_running(paths, left=left))
            return DEAD if left else STOPPED
    except (EchodError, OSError) as error:
        print(f"echod: {error}", file=sys.stderr)
        return CANNOT_TELL
    print(json.dumps(state) if args.json else for_people(state))
    return RUNNING


def state_of(pid_file: PidFile) -> dict[str, Any] | None:
    """Return a snapshot, None when no daemon runs. Raises EchodError."""
    while daemon := Daemon.find(pid_file):
        with daemon:
            try:
                return snapshot(daemon.board().copy())
            except EchodError as error:
                if error.code != NOT_RUNNING:  # else it has ended meanwhile
                    raise
    return None


def not_running(paths: Paths, *, left: bool) -> str:
    """Return what people are shown when no process holds the pid file; `left`: there is one all the same."""
    if left:
        return f"echod: dead: it was killed or crashed, and has left {paths.pid_file}; `echod start` starts it again"
    return "echod: not running"
