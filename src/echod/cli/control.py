"""`reload` and `reopen`: commands to the running daemon that wait for its answer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from echod.cli.daemon import Daemon
from echod.cli.paths import Paths
from echod.cli.pidfile import PidFile
from echod.common.config.file import DEFAULT_PATH
from echod.common.errors import DONE, NOT_RUNNING, EchodError

if TYPE_CHECKING:
    from argparse import Namespace


def reload(args: Namespace) -> int:
    """Have the daemon read its config again, and print what changed. Raises EchodError."""
    paths = Paths(args.config, args.options)
    paths.load()
    with running(paths) as daemon:
        current, asked = daemon.board().texts().get("config_file", ""), paths.config_file or DEFAULT_PATH
        if os.path.realpath(current) != os.path.realpath(asked):
            raise EchodError(
                f"process {daemon.pid} was started with {current} and cannot change to {asked}; use restart"
            )
        code, texts = daemon.reload()
    if code != DONE:
        raise EchodError(f"{texts['last_reload']}; the old settings are still in force", code)
    print("\n".join(filter(None, texts["changes"].split("\t"))) or "echod: reloaded, nothing changed")
    return DONE


def reopen(args: Namespace) -> int:
    """Have the daemon open its log file again. Raises EchodError."""
    with running(Paths(args.config, args.options)) as daemon:
        code, texts = daemon.reopen()
    if code != DONE:
        raise EchodError(f"{texts['reopen']}; the old file is still in use", code)
    return DONE


def running(paths: Paths) -> Daemon:
    """Return the running daemon. Raises EchodError when there is none."""
    daemon = Daemon.find(PidFile(paths.pid_file))
    if daemon is None:
        raise EchodError(f"not running (no process holds {paths.pid_file}); `echod start` starts it", NOT_RUNNING)
    return daemon
