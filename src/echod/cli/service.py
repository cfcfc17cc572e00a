"""A daemon that systemd runs: `stop` and `restart` by hand would work against it, and so say what to use instead."""

from __future__ import annotations

import contextlib
import subprocess

from echod.cli.proc import cgroups
from echod.common.errors import EchodError

ANSWER = 5.0  # seconds for systemctl


def leave_to_systemd(pid: int, command: str) -> None:
    """Raise EchodError, with the way out, when a process is the main one of a service of systemd's."""
    unit, user = unit_of(pid)
    systemctl = ["systemctl", "--user"] if user else ["systemctl"]
    if unit and main_pid(systemctl, unit) == pid:
        raise EchodError(f"{command}: process {pid} is systemd's {unit}; use `{' '.join(systemctl)} {command} {unit}`")


def unit_of(pid: int) -> tuple[str, bool]:
    """Return the service in whose cgroup a process is, "" for none, and whether it is one of a user's manager."""
    with contextlib.suppress(OSError):
        for controllers, path in cgroups(pid):
            *above, name = path.split("/")
            if controllers in ([], ["name=systemd"]) and name.endswith(".service"):
                return name, any(part.startswith("user@") for part in above)
    return "", False


def main_pid(systemctl: list[str], unit: str) -> int:
    """Return the main process of a unit, 0 where systemd does not tell: one in cron's cgroup, say, is not cron."""
    command = [*systemctl, "show", "--property=MainPID", "--value", "--", unit]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return int(done.stdout) if done.stdout.strip().isdigit() else 0
