"""`reload`, `reopen` and `upgrade`: commands to the running daemon that wait for its answer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from echod.cli import proc
from echod.cli.context import Paths, user_name
from echod.cli.daemon import BOOT, RELOAD, REOPEN, UPGRADE, Daemon
from echod.cli.installation import fault as installation_fault
from echod.cli.launch import compile_server
from echod.cli.pidfile import PidFile
from echod.common import scoreboard
from echod.common.config.file import DEFAULT_PATH, read_overrides
from echod.common.errors import DONE, FAILED, NOT_RUNNING, USAGE, EchodError, printable

if TYPE_CHECKING:
    from argparse import Namespace

    from echod.common.scoreboard import Copy


def reload(args: Namespace) -> int:
    """Make the daemon read its config again, and print what changed. Raises EchodError.

    A child of the daemon checks the file, as it does for a SIGHUP that no command has sent. A file that is refused is
    therefore recorded as the last reload, whoever asks.
    """
    paths = Paths(args.config, args.options)
    with running(paths) as daemon:
        check_source(paths, daemon.pid, daemon.board().copy())
        code, copy = daemon.ask(*RELOAD)
    if code != DONE:
        raise EchodError(f"{copy.texts().get('last_reload')}; the previous settings remain in effect", code)
    print(printable("\n".join(copy.changes())) or "echod: reloaded, nothing changed")
    return DONE


def check_source(paths: Paths, pid: int, copy: Copy) -> None:
    """Raise EchodError for a config file or an -o that the daemon was not started with."""
    current, asked = copy.texts().get("config_file", ""), paths.config_file or DEFAULT_PATH
    if os.path.realpath(current) != os.path.realpath(asked):
        raise EchodError(f"process {pid} was started with {current} and cannot change to {asked}; use restart")
    check_overrides(paths.overrides, copy.overrides())


def check_overrides(given: list[str], started_with: list[str]) -> None:
    """Raise EchodError, USAGE, for an -o that the daemon was not started with: a reload does not pass it on."""
    well_formed = [text for text in started_with if text.partition("=")[0].strip() and "=" in text]  # others are forged
    known = {(key, value) for _, key, value in read_overrides(well_formed, newlines=True)}
    for where, key, value in read_overrides(given):
        if key != "pid_file" and (key, value) not in known:
            raise EchodError(f"reload: {where}: takes effect at a start; use restart, or the config file", USAGE)


def upgrade(args: Namespace) -> int:
    """Make the daemon execute the installed version in its own place. Raises EchodError."""
    paths = Paths(args.config, args.options)
    with running(paths) as daemon:
        copy = daemon.board().copy()
        check_source(paths, daemon.pid, copy)
        check_installation(daemon.pid, copy.texts().get("program", ""))
        compile_server()
        code, copy = daemon.ask(*UPGRADE)
        if code != DONE:
            raise EchodError(f"{copy.texts().get('upgrade')}; the previous version continues", code)
    print(printable("\n".join([f"echod: process {daemon.pid} has become version {copy.version()}", *copy.upgraded()])))
    return DONE


def check_installation(pid: int, program: str) -> None:
    """Raise EchodError if an upgrade cannot lead to this command's version. `program` is what the daemon executes."""
    if not is_same_file(program, BOOT):
        theirs, ours = (path.removesuffix("/server/boot.py") for path in (program, BOOT))
        raise EchodError(f"process {pid} executes {theirs}, and this command belongs to {ours}; use restart")
    uid, gid = ids_of(pid)
    if os.geteuid() == 0 < uid and (why := installation_fault(uid, gid)):
        raise EchodError(f"user {user_name(uid)} cannot execute this installation: {why}; use restart")


def is_same_file(one: str, other: str) -> bool:
    """Return True if two paths lead to the same file, or are the same."""
    try:
        return one == other or os.path.samefile(one, other)
    except (OSError, ValueError):
        return False


def ids_of(pid: int) -> tuple[int, int]:
    """Return the user and the group of a process, -1 if they are unknown."""
    try:
        found = proc.status(pid)
        return int(found["Uid"].split()[1]), int(found["Gid"].split()[1])
    except (OSError, KeyError):
        return -1, -1


def reopen(args: Namespace) -> int:
    """Have the daemon open its log file again. Raises EchodError."""
    with running(Paths(args.config, args.options)) as daemon:
        code, copy = daemon.ask(*REOPEN)
    if code != DONE:
        raise EchodError(f"{copy.texts().get('reopen')}; the old file is still in use", code)
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
