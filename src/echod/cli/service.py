"""A daemon that systemd runs: `stop` and `restart` would work against systemd, so they name the command to use."""

from __future__ import annotations

import contextlib
import subprocess

from echod.cli.proc import cgroups
from echod.common.errors import EchodError

ANSWER_S = 5.0  # for systemctl


def leave_to_systemd(pid: int, command: str) -> None:
    """Raise EchodError, with the command to use, if a process is the main process of a systemd service."""
    unit, user = unit_of(pid)
    systemctl = ["systemctl", "--user"] if user else ["systemctl"]
    if unit and main_pid(systemctl, unit) == pid:
        raise EchodError(f"{command}: process {pid} is systemd's {unit}; use `{' '.join(systemctl)} {command} {unit}`")


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
