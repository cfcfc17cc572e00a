"""The trial of this version, in a process of its own: all that may fail in the daemon's place, and no change to it.

What it writes on descriptor 1 is read by the daemon: "fit" and the settings, a line each; or `CODE reason`.
"""

from __future__ import annotations

import mmap

from echod.common import scoreboard
from echod.common.cmodules import os
from echod.common.config import settings
from echod.common.errors import DONE, EchodError, from_os_error
from echod.common.scoreboard import MAGIC, VERSION, Scoreboard
from echod.common.sockets import adopt
from echod.server.reload import open_log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.common.config.settings import Config
    from echod.common.handover import Handover

FIT = "fit"
LAYOUT = 0xFFFFFF  # of scoreboard.VERSION: its number


def trial(handover: Handover) -> int:
    """Say whether this version could go on from here; returns the exit code."""
    code, lines = DONE, [FIT]
    try:
        config = prepare(handover)
    except EchodError as error:
        code, lines = error.code, [f"{error.code} {error}".replace("\n", " ")]
    except OSError as error:
        failed = from_os_error("cannot start", error)
        code, lines = failed.code, [f"{failed.code} {failed}"]
    else:
        lines += [f"{name}={config.text(name)}" for name in settings.SETTINGS]
    rest = "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")
    while rest:
        rest = rest[os.write(1, rest) :]
    return code


def prepare(handover: Handover) -> Config:
    """Do all that may fail, and return the settings. Raises EchodError, OSError."""
    check_layout(handover.board_fd)
    config = settings.load(handover.config_file, handover.overrides, handover.base, log=handover.log)
    adopt(handover.addresses, handover.sockets)
    scoreboard.allocate(handover.board_fd, config.max_children)
    mmap.mmap(handover.board_fd, scoreboard.SIZE).close()
    open_log(config)
    return config


def check_layout(fd: int) -> None:
    """Raise EchodError where the scoreboard has another layout than this version's."""
    try:
        found = Scoreboard(fd).words[MAGIC]
    except ValueError:
        found = 0
    if found != VERSION:
        raise EchodError(f"the scoreboard has layout {found & LAYOUT}, this version {VERSION & LAYOUT}; use restart")
