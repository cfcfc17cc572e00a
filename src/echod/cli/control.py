"""`reload`, `reopen` and `upgrade`: commands to the running daemon that wait for its answer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from echod.cli.context import Paths
from echod.cli.daemon import RELOAD, REOPEN, UPGRADE, Daemon
from echod.cli.launch import compile_server
from echod.cli.pidfile import PidFile
from echod.common import scoreboard
from echod.common.config.file import DEFAULT_PATH, read_overrides
from echod.common.errors import DONE, FAILED, NOT_RUNNING, USAGE, EchodError, printable

if TYPE_CHECKING:
    from argparse import Namespace


def reload(args: Namespace) -> int:
    """Have the daemon read its config again, and print what changed. Raises EchodError.

    A child of the daemon checks the file, as it does for a SIGHUP that no command has sent. A file that is refused is
    therefore recorded as the last reload, whoever asks.
    """
    paths = Paths(args.config, args.options)
    with running(paths) as daemon:
        check_source(paths, daemon, daemon.board().texts())
        code, texts = daemon.ask(*RELOAD)
    if code != DONE:
        raise EchodError(f"{texts['last_reload']}; the old settings are still in force", code)
    print(printable("\n".join(filter(None, texts["changes"].split("\t")))) or "echod: reloaded, nothing changed")
    return DONE


def check_source(paths: Paths, daemon: Daemon, texts: dict[str, str]) -> None:
    """Raise EchodError for a config file or an -o that the daemon was not started with."""
    current, asked = texts.get("config_file", ""), paths.config_file or DEFAULT_PATH
    if os.path.realpath(current) != os.path.realpath(asked):
        raise EchodError(f"process {daemon.pid} was started with {current} and cannot change to {asked}; use restart")
    check_overrides(paths.overrides, daemon.overrides())


def check_overrides(given: list[str], started_with: list[str]) -> None:
    """Raise EchodError, USAGE, for an -o that the daemon was not started with: a reload does not pass it on."""
    known = {(key, value) for _, key, value in read_overrides(started_with, newlines=True)}
    for where, key, value in read_overrides(given):
        if key != "pid_file" and (key, value) not in known:
            raise EchodError(f"reload: {where}: takes effect at a start; use restart, or the config file", USAGE)


def upgrade(args: Namespace) -> int:
    """Have the daemon execute the installed version in its own place. Raises EchodError."""
    paths = Paths(args.config, args.options)
    with running(paths) as daemon:
        check_source(paths, daemon, daemon.board().texts())
        compile_server()
        code, texts = daemon.ask(*UPGRADE)
        if code != DONE:
            raise EchodError(f"{texts['upgrade']}; the version of before goes on", code)
        version = daemon.board().copy().text(scoreboard.PROGRAM_AT, scoreboard.PROGRAM_ROOM)
    print(f"echod: process {daemon.pid} has become version {version}")
    return DONE


def reopen(args: Namespace) -> int:
    """Have the daemon open its log file again. Raises EchodError."""
    with running(Paths(args.config, args.options)) as daemon:
        code, texts = daemon.ask(*REOPEN)
    if code != DONE:
        raise EchodError(f"{texts['reopen']}; the old file is still in use", code)
    return DONE


def running(paths: Paths) -> Daemon:
    """Return the running daemon once it has started. Raises EchodError when there is none, or none that goes on."""
    while daemon := Daemon.find(PidFile(paths.pid_file)):
        try:
            state = daemon.wait_started()
        except EchodError as error:
            if error.code == NOT_RUNNING:  # it has ended in between, and another may run now
                continue
            raise
        if state == scoreboard.DRAINING:
            raise EchodError(f"process {daemon.pid} is draining and about to end; `echod start` waits for that", FAILED)
        return daemon
    raise EchodError(f"not running (no process holds {paths.pid_file}); `echod start` starts it", NOT_RUNNING)
