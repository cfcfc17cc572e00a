"""Where things are: the config, the pid file, and what the server is told of them."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from typing import TYPE_CHECKING

from echod.cli.pidfile import PidFile
from echod.common.config import settings as configuration
from echod.common.config.file import absolute, read, read_overrides
from echod.common.errors import ConfigError
from echod.common.launch import Launch

if TYPE_CHECKING:
    from echod.common.config.settings import Config


class Paths:
    """What `-c FILE` and `-o KEY=VALUE` lead to. Raises ConfigError.

    Of the settings only `pid_file` has to be right here: a config that is broken must not keep anyone from stopping
    the daemon. `load` reads the rest.
    """

    def __init__(self, config_file: str | None, overrides: list[str]) -> None:
        try:
            self.base = os.getcwd()
        except FileNotFoundError:
            self.base = ""  # a deleted directory: only absolute paths will do
        self.config_file = "" if config_file is None else absolute(config_file, self.base, "-c")
        self.overrides = overrides
        self.origins: dict[str, str] = {}  # where each setting comes from: file:line or -o KEY=VALUE
        self.pid_file = self._read() or default_path()
        self.board_file = board_path(self.pid_file)

    def _read(self) -> str:
        """Note the origins; returns the setting `pid_file`. What stands before a broken line counts."""
        found = ""
        for entries in (read(self.config_file), read_overrides(self.overrides)):
            with contextlib.suppress(ConfigError):
                for where, key, value in entries:
                    self.origins[key] = where
                    if key == "pid_file":
                        found = absolute(value, self.base, where) if value else ""
        return found

    def origin(self, name: str) -> str:
        """Return where a setting comes from, with a colon after it; nothing for a default."""
        return f"{self.origins[name]}: " if name in self.origins else ""

    def load(self, *, log: str = "syslog") -> Config:
        """Read the settings; `log` is the default of the setting of that name. Raises ConfigError."""
        return configuration.load(self.config_file, self.overrides, self.base, log=log)

    def launch(self, ids: tuple[int, int], *, log: str = "syslog", ready_fd: int = -1) -> Launch:
        """Return what the server is told; `ids` are those of the user whom root becomes."""
        return Launch(
            config_file=self.config_file,
            base=self.base,
            log=log,
            pid_file=self.pid_file,
            board_file=self.board_file,
            overrides=tuple(self.overrides),
            ready_fd=ready_fd,
            uid=ids[0],
            gid=ids[1],
        )

    def remove_stale(self) -> None:
        """Remove what a daemon that is gone has left, as far as we may and nobody is starting another."""
        with contextlib.suppress(OSError):
            PidFile(self.pid_file).break_lock(self.board_file)


def board_path(pid_file: str) -> str:
    """Return where the scoreboard of the daemon with this pid file is: no two share one."""
    return f"{pid_file}.scoreboard"


def default_path() -> str:
    """Return where the pid file is unless the config says so. Raises ConfigError when that directory is not safe."""
    if os.geteuid() == 0:
        return "/run/echod/echod.pid"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return os.path.join(runtime, "echod", "echod.pid")
    directory = os.path.join(tempfile.gettempdir(), f"echod-{os.geteuid()}")
    with contextlib.suppress(OSError):
        os.mkdir(directory, 0o700)  # first: what is there from now on can be checked, and stays this user's
    with contextlib.suppress(FileNotFoundError):
        found = os.lstat(directory)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise ConfigError(f"{directory}: belongs to someone else or is open to others; set pid_file")
    return os.path.join(directory, "echod.pid")
