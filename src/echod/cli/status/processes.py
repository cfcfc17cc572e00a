"""`status --processes`: the daemon and its children, as /proc has them, beside what they should be."""

from __future__ import annotations

import contextlib
import textwrap
import time
from typing import TYPE_CHECKING

from echod.cli.proc import Process, children_of, sockets_of
from echod.cli.status.child_check import child_lines
from echod.cli.status.daemon_check import DaemonCheck, Line
from echod.common.config import settings
from echod.common.errors import DONE, FAILED, NOT_RUNNING, ConfigError, EchodError, printable
from echod.common.handover import Handover

if TYPE_CHECKING:
    from echod.cli.daemon import Daemon
    from echod.common.config.settings import Config

CANNOT_TELL = 4
LOOKS, PAUSE = 5, 0.05  # seconds: what is not as it should be may be under way, a child that is about to be reaped say
VERDICTS = {True: "ok", False: "NOT OK", None: "?"}
STATE = "state_fd="  # after an upgrade: a file of the server's, not of this process
BOOT = "boot.py"  # of the server's image; what it was told follows


def processes(daemon: Daemon, columns: int | None) -> tuple[str, int]:
    """Return a line for all that was looked at, and the exit code: 1 where one is not ok, 4 where one cannot be told.

    Raises EchodError, NOT_RUNNING when the daemon has ended meanwhile.
    """
    for look in range(LOOKS):
        if look:
            time.sleep(PAUSE)
        lines = examine(daemon)
        if all(line.ok for line in lines):
            break
    code = CANNOT_TELL if any(line.ok is None for line in lines) else DONE
    return printable(table(lines, columns)), FAILED if any(line.ok is False for line in lines) else code


def examine(daemon: Daemon) -> list[Line]:
    """Look at a daemon and its children. Raises EchodError."""
    try:
        process = Process(daemon.pid)
        children = children_of(daemon.pid)
    except (FileNotFoundError, ProcessLookupError):
        raise EchodError(f"process {daemon.pid} has just ended", NOT_RUNNING) from None
    sockets = sockets_of(daemon.pid)
    peers = {client[0]: client[1] for client in daemon.board().copy().clients()}
    handover = handover_of(process)
    lines = [
        *DaemonCheck(process, handover, config_of(handover), sockets).lines(),
        *child_lines(process, children, peers, sockets),
    ]
    if daemon.wait(0):  # else what was read may be of another process with that number
        raise EchodError(f"process {daemon.pid} has just ended", NOT_RUNNING)
    return lines


def handover_of(process: Process) -> Handover:
    """Return what the server was told when it was executed. Raises EchodError."""
    words = process.command
    for at, word in enumerate(words):
        if word.endswith(BOOT):
            with contextlib.suppress(AttributeError, ValueError):
                return Handover.from_words([word for word in words[at + 1 :] if word and not word.startswith(STATE)])
    raise EchodError(f"process {process.pid} is not a server of this version of echod; restart it")


def config_of(handover: Handover) -> Config | None:
    """Return the settings as they are now, None where they cannot be read."""
    try:
        return settings.load(handover.config_file, handover.overrides, handover.base, log=handover.log)
    except ConfigError:
        return None


def table(lines: list[Line], columns: int | None) -> str:
    """Return the lines aligned: the verdict, what was looked at, what it is; what it should be."""
    width = max(len(line.what) for line in lines)
    text: list[str] = []
    for line in lines:
        head = f"{VERDICTS[line.ok]:<8}{line.what:<{width}}  "
        whole = f"{head}{line.found} (should be: {line.wanted})"
        text += textwrap.wrap(whole, max(columns, 40), subsequent_indent=" " * 10) if columns else [whole]
    return "\n".join(text)
