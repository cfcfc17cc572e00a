"""A daemon that systemd runs: `stop` and `restart` name the command to use instead; `check` describes the unit."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import subprocess
from typing import TYPE_CHECKING

from echod.cli.proc import cgroups
from echod.common.config.file import DEFAULT_PATH
from echod.common.errors import EchodError

if TYPE_CHECKING:
    from echod.cli.context import Paths

ANSWER_S = 5.0  # for systemctl
BOOTED = "/run/systemd/system"  # exists if systemd is the init system (sd_booted(3))
UNIT = "echod.service"
NO_RIGHTS = 65534  # the ids of nobody and nogroup, which own no file
UNLIMITED = 1 << 63  # systemctl shows "infinity" of some properties as 2^64 - 1
PROPERTIES = (
    *("LoadState", "ExecStart", "User", "DynamicUser", "LogsDirectory", "RuntimeDirectory", "StateDirectory"),
    *("TasksMax", "LimitNPROCSoft", "LimitNOFILESoft"),
)


def leave_to_systemd(pid: int, command: str) -> None:
    """Raise EchodError, with the command to use, if a process is the main process of a systemd service."""
    unit, user = unit_of(pid)
    systemctl = ["systemctl", "--user"] if user else ["systemctl"]
    if unit and main_pid(systemctl, unit) == pid:
        raise EchodError(
            f"{command}: process {pid} is managed by systemd ({unit}); use `{' '.join(systemctl)} {command} {unit}`"
        )


def unit_of(pid: int) -> tuple[str, bool]:
    """Return the service in whose cgroup a process is, or "", and True if a user's manager runs the service."""
    with contextlib.suppress(OSError):
        for controllers, path in cgroups(pid):
            *above, name = path.split("/")
            if controllers in ([], ["name=systemd"]) and name.endswith(".service"):
                return name, any(part.startswith("user@") for part in above)
    return "", False


def main_pid(systemctl: list[str], unit: str) -> int:
    """Return the main process of a unit, or 0 if systemd names none. A process in cron's cgroup need not be cron."""
    command = [*systemctl, "show", "--property=MainPID", "--value", "--", unit]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return int(done.stdout) if done.stdout.strip().isdigit() else 0


class Unit:
    """An installed service that would run echod: `properties` are those that `systemctl show` prints."""

    def __init__(self, name: str, properties: dict[str, str]) -> None:
        self.name = name
        self.properties = properties
        self.options, self.config_file = options_of(properties["ExecStart"])

    @classmethod
    def installed(cls, paths: Paths) -> Unit | None:
        """Return the unit that starts the daemon with this config and this pid file, or None.

        Only root is asked for it: an ordinary user's daemon is not the unit's.
        """
        if os.geteuid() != 0 or not os.path.isdir(BOOTED):
            return None
        command = ["systemctl", "show", f"--property={','.join(PROPERTIES)}", "--", UNIT]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S, check=False)  # noqa: S603
            found = dict.fromkeys(PROPERTIES, "") | dict(
                line.split("=", 1) for line in done.stdout.splitlines() if "=" in line
            )
            unit = cls(UNIT, found)
            same_config = (paths.config_file or DEFAULT_PATH) == (unit.config_file or DEFAULT_PATH)
            if found["LoadState"] == "loaded" and same_config and unit.has_pid_file(paths):
                return unit
        return None

    def has_pid_file(self, paths: Paths) -> bool:
        """Return True if the unit's daemon would have this pid file: without -o both take it from the config."""
        own = [text for text in self.options if text.startswith("pid_file=")]
        given = [text for text in paths.overrides if text.partition("=")[0].strip() == "pid_file"]
        return own == [f"pid_file={paths.pid_file}"] if own else not given

    def identity(self) -> tuple[str, int, int]:
        """Return the user's name, and ids that have its rights: those of a dynamic user exist only while it runs."""
        name = self.properties["User"] or (self.name.removesuffix(".service") if self.is_dynamic else "root")
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return name, entry.pw_uid, entry.pw_gid
        return name, NO_RIGHTS, NO_RIGHTS

    @property
    def is_dynamic(self) -> bool:
        """True if systemd makes the user at a start."""
        return self.properties["DynamicUser"] == "yes"

    def makes(self, path: str) -> bool:
        """Return True if a file is in a directory that systemd makes for the service at a start."""
        roots = {"/var/log": "LogsDirectory", "/run": "RuntimeDirectory", "/var/lib": "StateDirectory"}
        made = [f"{root}/{name}/" for root, key in roots.items() for name in self.properties[key].split()]
        return path.startswith(tuple(made))

    def limit(self, name: str) -> int | None:
        """Return a limit of the service, or None if it has none."""
        text = self.properties[name]
        return int(text) if text.isdecimal() and int(text) < UNLIMITED else None


def options_of(exec_start: str) -> tuple[list[str], str]:
    """Return each KEY=VALUE of `-o`, and the FILE of `-c`, of a command line in the format of `systemctl show`."""
    words = exec_start.partition("argv[]=")[2].partition(" ; ")[0].split()
    options = [word for previous, word in itertools.pairwise(words) if previous == "-o"]
    files = [word for previous, word in itertools.pairwise(words) if previous == "-c"]
    return options, files[-1] if files else ""
