"""Whether the daemon's user can write the log and read the config, and whether the scoreboard has room."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from echod.cli import installation
from echod.cli.preflight import CONFIG, DIRECTORY, LOG, check_user
from echod.cli.proc import mounts
from echod.common.config.file import DEFAULT_PATH
from echod.common.scoreboard import space

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echod.cli.check.plan import Plan

BLOCK_BYTES = 512  # of st_blocks


def warnings(plan: Plan) -> Iterator[str]:
    """Yield a warning for each, with the command that mends it. Raises EchodError where the user cannot be become."""
    failed = check_user(plan.config, plan.launch)
    if DIRECTORY in failed:
        yield f"directory: {failed[DIRECTORY]}; `echod start` would fail, set directory to one that exists"
    if LOG in failed:
        path = Path(plan.config.log)
        own = path if path.exists() else path.parent
        mend = f"chown {plan.user} {own}" if own.exists() else f"install -d -o {plan.user} {own}"
        yield f"log: {failed[LOG]} for user {plan.user}; `{closed(path, plan) or mend}`"
    if CONFIG in failed:
        path = Path(plan.paths.config_file or DEFAULT_PATH)
        mend = closed(path, plan) or f"chmod o+r {path}"
        yield f"{failed[CONFIG]} for user {plan.user}: a reload will fail; `{mend}`"
    if plan.launch.uid > 0 and (why := installation.fault(plan.launch.uid, plan.launch.gid)):
        yield f"{why} for user {plan.user}: an upgrade will fail; `echod restart` replaces it"
    yield from board_space(plan)


def closed(path: Path, plan: Plan) -> str:
    """Return the command that opens the first directory above a file that the user cannot search, or nothing."""
    for directory in reversed(path.parents):
        with contextlib.suppress(OSError):
            found = directory.stat()
            bit = stat.S_IXOTH
            if found.st_gid == plan.gid:
                bit = stat.S_IXGRP
            if found.st_uid == plan.uid:
                bit = stat.S_IXUSR
            if plan.uid and not found.st_mode & bit:
                return f"chmod o+x {directory}"
    return ""


def board_space(plan: Plan) -> Iterator[str]:
    """Yield a warning if the file system has no room for the scoreboard, which is allocated at a start."""
    board = Path(plan.paths.board_file)
    directory = next(path for path in board.parents if path.exists())
    system = os.statvfs(directory)
    free = system.f_bavail * system.f_frsize
    with contextlib.suppress(OSError):
        free += board.stat().st_blocks * BLOCK_BYTES  # the previous scoreboard is replaced
    wanted = space(plan.config.max_children)
    if system.f_blocks and free < wanted:
        point, kind = mounted(directory)
        size = system.f_blocks * system.f_frsize + wanted - free
        resize = f"mount -o remount,size={-(-size // 1024)}k {point}"
        yield (
            f"{directory}: has room for {free} bytes, and the scoreboard needs {wanted} for max_children = "
            f"{plan.config.max_children}; `{resize if kind == 'tmpfs' else f'du -xah {point} | sort -h | tail'}`"
        )


def mounted(directory: Path) -> tuple[str, str]:
    """Return where the file system of a directory is mounted, and its kind."""
    point = next(path for path in (directory, *directory.parents) if os.path.ismount(path))
    kind = ""
    with contextlib.suppress(OSError):
        for where, name in mounts():
            kind = name if where == str(point) else kind  # the last one mounted there is the one that is seen
    return str(point), kind
