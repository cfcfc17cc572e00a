"""Whether the daemon's user can write the log and read the config, and whether the scoreboard has room.

A warning never asks for other permissions of a file or a directory that echod has not made: it names another place.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from echod.cli import installation
from echod.cli.preflight import CONFIG, DIRECTORY, LOG, check_user, unreadable_config
from echod.cli.proc import mounts
from echod.common.scoreboard import space
from echod.log.sinks import log_remedy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echod.cli.check.subject import Subject

BLOCK_BYTES = 512  # of st_blocks


def warnings(subject: Subject) -> Iterator[str]:
    """Yield a warning for each, with what to do. Raises EchodError if the user cannot be become."""
    if subject.can_be_tried:
        failed = check_user(subject.config, subject.launch, subject.root)
        log = subject.config.log
        if DIRECTORY in failed:
            yield f"directory: {failed[DIRECTORY]}; `echod start` would fail, set directory to one that exists"
        if LOG in failed and not subject.makes(log):
            yield f"log: {failed[LOG]} for user {subject.user}; {log_remedy(log, subject.user, failed[LOG])}"
        if CONFIG in failed:
            yield unreadable_config(failed[CONFIG], subject.user)
        launch = subject.launch
        if launch.uid > 0 and (why := installation.fault(launch.uid, launch.gid)):
            yield f"{why} for user {subject.user}: an upgrade will fail; `echod restart` replaces it"
    yield from board_space(subject)


def board_space(subject: Subject) -> Iterator[str]:
    """Yield a warning if the file system has no room for the scoreboard, which is allocated at a start."""
    board = Path(subject.paths.board_file)
    directory = next(path for path in board.parents if path.exists())
    system = os.statvfs(directory)
    free = system.f_bavail * system.f_frsize
    with contextlib.suppress(OSError):
        free += board.stat().st_blocks * BLOCK_BYTES  # the previous scoreboard is replaced
    wanted = space(subject.config.max_children)
    if system.f_blocks and free < wanted:
        point, kind = mounted(directory)
        size = system.f_blocks * system.f_frsize + wanted - free
        resize = f"mount -o remount,size={-(-size // 1024)}k {point}"
        yield (
            f"{directory}: has room for {free} bytes, and the scoreboard needs {wanted} for max_children = "
            f"{subject.config.max_children}; `{resize if kind == 'tmpfs' else f'du -xah {point} | sort -h | tail'}`"
        )


def mounted(directory: Path) -> tuple[str, str]:
    """Return where the file system of a directory is mounted, and its kind."""
    point = next(path for path in (directory, *directory.parents) if os.path.ismount(path))
    kind = ""
    with contextlib.suppress(OSError):
        for where, name in mounts():
            kind = name if where == str(point) else kind  # the last one mounted there is the one that is seen
    return str(point), kind
