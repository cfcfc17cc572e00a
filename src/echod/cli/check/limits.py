"""Limits that the kernel would apply: the backlog, the number of processes and of descriptors."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from echod.cli import proc
from echod.cli.inherited import OTHER_DESCRIPTORS, lowest_fd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echod.cli.check.subject import Subject

CGROUPS = "/sys/fs/cgroup"
UNIT_LIMITS = {proc.PROCESSES: "LimitNPROCSoft", proc.FILES: "LimitNOFILESoft"}


def warnings(subject: Subject) -> Iterator[str]:
    """Yield a warning for each limit that the settings exceed, with the command that raises it."""
    yield from backlog(subject)
    yield from processes(subject)
    yield from cgroup(subject)
    yield from descriptors(subject)


def backlog(subject: Subject) -> Iterator[str]:
    """Yield a warning if the kernel cuts the backlog (listen(2))."""
    with contextlib.suppress(OSError):
        most = proc.somaxconn()
        if most < subject.config.backlog:
            wanted = subject.config.backlog
            yield f"backlog = {wanted} is cut to somaxconn, {most}; `sysctl -w net.core.somaxconn={wanted}`"


def limit(subject: Subject, name: str) -> int | None:
    """Return a soft limit of the running daemon, the unit or this process, which hands it down; None if unlimited."""
    if subject.unit:
        return subject.unit.limit(UNIT_LIMITS.get(name, ""))
    with contextlib.suppress(OSError):
        soft = proc.soft_limits(subject.pid or proc.SELF, [name]).get(name, "unlimited")
        return None if soft == "unlimited" else int(soft)
    return None


def raise_limit(subject: Subject, letter: str, name: str, wanted: int) -> str:
    """Return the command that raises a soft limit."""
    if subject.unit:
        return f"systemctl edit {subject.unit.name}, with Limit{name.upper()}={wanted}"
    return f"prlimit --pid {subject.pid} --{name}={wanted}:" if subject.pid else f"ulimit -{letter} {wanted}"


def processes(subject: Subject) -> Iterator[str]:
    """Yield a warning if the user may not have so many processes (RLIMIT_NPROC, which does not bind root)."""
    most = limit(subject, proc.PROCESSES)
    if subject.uid == 0 or most is None:
        return
    wanted = subject.processes + proc.threads_of_user(subject.uid, subject.pid)
    if wanted > most:
        yield (
            f"max_children = {subject.config.max_children} needs {wanted} processes of user {subject.user}, with those "
            f"that exist, and the limit is {most} (RLIMIT_NPROC); `{raise_limit(subject, 'u', 'nproc', wanted)}`"
        )


def cgroup(subject: Subject) -> Iterator[str]:
    """Yield a warning for each cgroup of the daemon that has no room for its processes (pids.max)."""
    needs = f"max_children = {subject.config.max_children} needs room for"
    if subject.unit:
        most, wanted = subject.unit.limit("TasksMax"), subject.processes
        if most is not None and wanted > most:
            remedy = f"systemctl set-property {subject.unit.name} TasksMax={wanted}"
            yield f"{needs} {wanted} processes, and TasksMax is {most}; `{remedy}`"
        return
    directory, root = pids_cgroup(subject)
    while directory and directory.is_relative_to(root):
        file = directory / "pids.max"
        with contextlib.suppress(OSError, ValueError):  # "max" is not a number, and the root has no such file
            most, used = int(file.read_text()), int((directory / "pids.current").read_text())
            wanted = used - subject.state.get("clients", 0) - bool(subject.pid) + subject.processes
            if wanted > most:
                is_unit = directory.name.endswith((".service", ".scope", ".slice"))
                fitting = subject.config.max_children - (wanted - most)
                lower = f"lower max_children to {fitting}" if fitting > 0 else f"raise that to {wanted}"
                remedy = f"`systemctl set-property {directory.name} TasksMax={wanted}`" if is_unit else lower
                yield f"{needs} {wanted} processes, with those that exist, and {file} is {most}; {remedy}"
        directory = directory.parent


def pids_cgroup(subject: Subject) -> tuple[Path | None, Path]:
    """Return the directory of the daemon's cgroup, or of this process's, and the root of its tree (cgroups(7))."""
    with contextlib.suppress(OSError):
        for controllers, path in proc.cgroups(subject.pid or proc.SELF):
            root = Path(CGROUPS, "pids" if controllers else "")
            if "pids" in controllers or (not controllers and not Path(CGROUPS, "pids").exists()):
                return root / path.lstrip("/"), root
    return None, Path(CGROUPS)


def descriptors(subject: Subject) -> Iterator[str]:
    """Yield a warning if the daemon may not have its descriptors (RLIMIT_NOFILE); a child needs no more of them."""
    most, wanted = limit(subject, proc.FILES), lowest_fd(subject.config) + OTHER_DESCRIPTORS
    if most is not None and wanted > most:
        yield (
            f"the daemon needs {wanted} descriptors, and the limit is {most} (RLIMIT_NOFILE); "
            f"`{raise_limit(subject, 'n', 'nofile', wanted)}`"
        )
