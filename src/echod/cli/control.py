"""`reload`, `reopen` and `upgrade`: commands to the running daemon that wait for its answer."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

from echod.cli.context import Paths
from echod.cli.daemon import RELOAD, REOPEN, UPGRADE, Daemon
from echod.cli.launch import compile_server
from echod.cli.pidfile import PidFile
from echod.common import scoreboard
from echod.common.config.addresses import write_address
from echod.common.config.file import DEFAULT_PATH, read_overrides
from echod.common.errors import DONE, FAILED, NOT_RUNNING, USAGE, EchodError, printable
from echod.common.sockets import unresolved

if TYPE_CHECKING:
    from argparse import Namespace

    from echod.common.config.addresses import Address

LOOKUP = 5.0  # seconds for the resolver


def reload(args: Namespace) -> int:
    """Have the daemon read its config again, and print what changed. Raises EchodError."""
    paths = Paths(args.config, args.options)
    config = paths.load()
    with running(paths) as daemon:
        texts = daemon.board().texts()
        check_source(paths, daemon.pid, texts)
        look_up(
            [
                address
                for address in config.listen
                if write_address(address) not in texts.get("addresses", "").split(", ")
            ]
        )
        code, texts = daemon.ask(*RELOAD)
    if code != DONE:
        raise EchodError(f"{texts['last_reload']}; the previous settings remain in effect", code)
    print(printable("\n".join(filter(None, texts["changes"].split("\t")))) or "echod: reloaded, nothing changed")
    return DONE


def check_source(paths: Paths, pid: int, texts: dict[str, str]) -> None:
    """Raise EchodError for a config file or an -o that the daemon was not started with."""
    current, asked = texts.get("config_file", ""), paths.config_file or DEFAULT_PATH
    if os.path.realpath(current) != os.path.realpath(asked):
        raise EchodError(f"process {pid} was started with {current} and cannot change to {asked}; use restart")
    check_overrides(paths.overrides, texts.get("overrides", "").split("\t"))


def check_overrides(given: list[str], started_with: list[str]) -> None:
    """Raise EchodError, USAGE, for an -o that the daemon was not started with: a reload does not pass it on."""
    known = {(key, value) for _, key, value in read_overrides(list(filter(None, started_with)))}
    for where, key, value in read_overrides(given):
        if key != "pid_file" and (key, value) not in known:
            raise EchodError(f"reload: {where}: takes effect at a start; use restart, or the config file", USAGE)


def look_up(addresses: list[Address]) -> None:
    """Look up the hosts that the daemon is about to, which serves nobody meanwhile. Raises EchodError."""
    errors: list[str] = []

    def resolve(address: Address) -> None:
        try:
            socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            errors.append(str(unresolved(address, error)))

    for address in addresses:
        if address[0] == "*":
            continue
        thread = threading.Thread(target=resolve, args=[address], daemon=True)
        thread.start()
        thread.join(LOOKUP)
        if thread.is_alive():
            errors.append(f"cannot listen on {write_address(address)}: no answer from the resolver in {LOOKUP:g} s")
        if errors:
            raise EchodError(f"{errors[0]}; the previous settings remain in effect", FAILED)


def upgrade(args: Namespace) -> int:
    """Have the daemon execute the installed version in its own place. Raises EchodError."""
    paths = Paths(args.config, args.options)
    with running(paths) as daemon:
        check_source(paths, daemon.pid, daemon.board().texts())
        compile_server()
        code, texts = daemon.ask(*UPGRADE)
        if code != DONE:
            raise EchodError(f"{texts['upgrade']}; the previous version continues", code)
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
    daemon = Daemon.find(PidFile(paths.pid_file))
    if daemon is None:
        raise EchodError(f"not running (no process holds {paths.pid_file}); `echod start` starts it", NOT_RUNNING)
    if daemon.wait_started() == scoreboard.DRAINING:
        raise EchodError(f"process {daemon.pid} is draining and about to end; `echod start` waits for that", FAILED)
    return daemon
