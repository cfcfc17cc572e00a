"""What `check` examines: the daemon that a start from here would make, next to the running one, if there is one.

It is separate from the command because the modules that warn and explain need it, too.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from echod.cli.context import identify, user_name
from echod.cli.locks import LockedFile
from echod.cli.preflight import check_log
from echod.cli.status.command import copy_of
from echod.cli.status.snapshot import snapshot
from echod.common.errors import EchodError

if TYPE_CHECKING:
    from echod.cli.context import Paths


class Plan:
    """The settings and the user that they give the daemon; `state` is the running one's. Raises EchodError."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.config = paths.load()
        self.launch = paths.launch(identify(paths, self.config))
        check_log(paths, self.config, self.launch)
        self.uid = self.launch.uid if self.launch.uid >= 0 else os.geteuid()
        self.gid = self.launch.gid if self.launch.gid >= 0 else os.getegid()
        self.user = user_name(self.uid)
        self.state: dict[str, Any] = {}
        with contextlib.suppress(EchodError, OSError):
            copy = copy_of(LockedFile(paths.pid_file))
            self.state = snapshot(copy) if copy else {}

    @property
    def pid(self) -> int:
        """The pid of the running daemon, or 0 if there is none or none that this user may see."""
        return int(self.state.get("pid", 0))

    @property
    def processes(self) -> int:
        """How many processes the daemon may have at most."""
        return self.config.max_children + 1

    def origin(self, name: str) -> str:
        """Return where a setting comes from: file:line, -o or default."""
        where = self.paths.origins.get(name, "default")
        return "-o" if where.startswith("-o ") else where
