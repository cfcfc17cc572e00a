"""The daemon that `check` describes: the running one, else the installed unit's, else the one that a start would make.

It is separate from the command because the modules that warn and explain describe the same daemon.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from echod.cli import proc
from echod.cli.context import Paths, identify, look_up_group, look_up_user, user_name
from echod.cli.locks import LockedFile
from echod.cli.preflight import check_log
from echod.cli.service import Unit
from echod.cli.status.command import copy_of
from echod.cli.status.snapshot import snapshot
from echod.common.config.file import DEFAULT_PATH
from echod.common.errors import EchodError

EFFECTIVE = 1  # the second of the four ids in /proc/PID/status


class Subject:
    """The daemon that `check` describes. Raises EchodError.

    `state` is the status of the running daemon, empty if none runs from this config. `held` is what it listens on, from
    whatever config. `root` is the directory whose files the daemon sees: a unit's sandbox may show it others. `unit` is
    the installed unit, if no daemon runs and a start of the unit is what this config is for.
    """

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.state: dict[str, Any] = {}
        self.unit: Unit | None = None
        self.root = ""
        found = status_of(paths)
        self.held: list[str] = found.get("listen", [])
        if found and os.path.realpath(found["config_file"]) == os.path.realpath(paths.config_file or DEFAULT_PATH):
            self._describe_running(found)
        elif not found and (unit := Unit.installed(paths)):
            self._describe_unit(unit)
        else:
            self._describe_start()
            if found:
                self.name = (
                    f"process {found['pid']} has another config, {found['config_file']}; a start would start this one"
                )
        self.launch = self.paths.launch(
            (self.uid, self.gid) if os.geteuid() == 0 and (self.uid or self.gid) else (-1, -1)
        )
        check_log(self.paths, self.config, self.launch)

    def _describe_running(self, found: dict[str, Any]) -> None:
        """Describe the running daemon: its user, its -o, its files; what is given with -o here wins."""
        self.state = found
        given = {text.partition("=")[0].strip() for text in self.paths.overrides}
        own = [text for text in found["overrides"] if text.partition("=")[0].strip() not in given]
        self.paths = Paths(self.paths.config_file or None, [*own, *self.paths.overrides])
        words: list[str] = []
        with contextlib.suppress(OSError):
            words = proc.command_line(self.pid)
        self.config = self.paths.load(log="stderr" if "log=stderr" in words else "syslog")
        look_up_user(self.paths, self.config.user)  # a reload and the next start refuse one that does not exist
        if self.config.group:
            look_up_group(self.paths, self.config.group)
        self.uid, self.gid = os.geteuid(), os.getegid()
        with contextlib.suppress(OSError):  # no /proc
            fields = proc.status(self.pid)
            self.uid, self.gid = (int(fields[key].split()[EFFECTIVE]) for key in ("Uid", "Gid"))
        self.user = user_name(self.uid)
        self.name = f"process {self.pid}, of user {self.user}"
        if os.geteuid() == 0:
            self.root = proc.path(self.pid, "root")

    def _describe_unit(self, unit: Unit) -> None:
        """Describe the daemon that systemd would start."""
        self.unit = unit
        self.paths = Paths(self.paths.config_file or None, [*unit.options, *self.paths.overrides])
        self.config = self.paths.load(log="stderr")
        self.user, self.uid, self.gid = unit.identity()
        self.name = f"no daemon runs; {unit.name} would start this one"

    def _describe_start(self) -> None:
        """Describe the daemon that `echod start` would start."""
        self.config = self.paths.load()
        uid, gid = identify(self.paths, self.config)
        self.uid = uid if uid >= 0 else os.geteuid()
        self.gid = gid if gid >= 0 else os.getegid()
        self.user = user_name(self.uid)
        self.name = "no daemon runs; `echod start` would start this one"

    @property
    def pid(self) -> int:
        """The pid of the running daemon, or 0 if there is none or none that this user may see."""
        return int(self.state.get("pid", 0))

    @property
    def processes(self) -> int:
        """How many processes the daemon may have at most."""
        return self.config.max_children + 1

    @property
    def can_be_tried(self) -> bool:
        """True if this process may become the daemon's user, or is of that user."""
        return os.geteuid() in (0, self.uid)

    def makes(self, path: str) -> bool:
        """Return True if the unit's directories, which systemd makes at a start, will hold this file."""
        return self.unit is not None and self.unit.makes(path)

    def origin(self, name: str) -> str:
        """Return where a setting comes from: file:line, -o or default."""
        where = self.paths.origins.get(name, "default")
        return "-o" if where.startswith("-o ") else where


def status_of(paths: Paths) -> dict[str, Any]:
    """Return the status of the running daemon, or nothing if none runs, or none that this user may query."""
    with contextlib.suppress(EchodError, OSError):
        if copy := copy_of(LockedFile(paths.pid_file)):
            return snapshot(copy)
    return {}
