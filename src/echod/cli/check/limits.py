"""What the kernel would cap: the backlog, the number of processes and of descriptors."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from echod.cli import proc
from echod.cli.inherited import OTHER_DESCRIPTORS, lowest_fd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echod.cli.check.plan import Plan

CGROUPS = "/sys/fs/cgroup"


def warnings(plan: Plan) -> Iterator[str]:
    """Yield a warning for each limit that the settings exceed, with the command that raises it."""
    yield from backlog(plan)
    yield from processes(plan)
    yield from cgroup(plan)
    yield from descriptors(plan)


def backlog(plan: Plan) -> Iterator[str]:
    """Yield a warning if the kernel cuts the backlog (listen(2))."""
    with contextlib.suppress(OSError):
        most = proc.somaxconn()
        if most < plan.config.backlog:
            wanted = plan.config.backlog
            yield f"backlog = {wanted} is cut to somaxconn, {most}; `sysctl -w net.core.somaxconn={wanted}`"


def limit(plan: Plan, name: str) -> int | None:
    """Return a soft limit of the running daemon, or of this process, which hands it down; None if there is none."""
    with contextlib.suppress(OSError):
        soft = proc.soft_limits(plan.pid or proc.SELF, [name]).get(name, "unlimited")
        return None if soft == "unlimited" else int(soft)
    return None


def raise_limit(plan: Plan, letter: str, name: str, wanted: int) -> str:
    """Return the command that raises a soft limit."""
    return f"prlimit --pid {plan.pid} --{name}={wanted}:" if plan.pid else f"ulimit -{letter} {wanted}"


def processes(plan: Plan) -> Iterator[str]:
    """Yield a warning if the user may not have so many processes (RLIMIT_NPROC, which does not bind root)."""
    most = limit(plan, proc.PROCESSES)
    if plan.uid == 0 or most is None:
        return
    wanted = plan.processes + proc.threads_of_user(plan.uid, plan.pid)
    if wanted > most:
        yield (
            f"max_children = {plan.config.max_children} needs {wanted} processes of user {plan.user}, with those there "
            f"are, and the limit is {most} (RLIMIT_NPROC); `{raise_limit(plan, 'u', 'nproc', wanted)}`"
        )


def cgroup(plan: Plan) -> Iterator[str]:
    """Yield a warning for each cgroup of the daemon that has no room for its processes (pids.max)."""
    directory, root = pids_cgroup(plan)
    while directory and directory.is_relative_to(root):
        file = directory / "pids.max"
        with contextlib.suppress(OSError, ValueError):  # "max" is not a number, and the root has no such file
            most, used = int(file.read_text()), int((directory / "pids.current").read_text())
            wanted = used - plan.state.get("clients", 0) - bool(plan.pid) + plan.processes
            if wanted > most:
                unit = directory.name.endswith((".service", ".scope", ".slice"))
                mend = f"systemctl set-property {directory.name} TasksMax={wanted}"
                yield (
                    f"max_children = {plan.config.max_children} needs room for {wanted} processes, with those there "
                    f"are, and {file} is {most}; `{mend if unit else f'echo {wanted} >{file}'}`"
                )
        directory = directory.parent


def pids_cgroup(plan: Plan) -> tuple[Path | None, Path]:
    """Return the directory of the daemon's cgroup, or of this process's, and the root of its tree (cgroups(7))."""
    with contextlib.suppress(OSError):
        for controllers, path in proc.cgroups(plan.pid or proc.SELF):
            root = Path(CGROUPS, "pids" if controllers else "")
            if "pids" in controllers or (not controllers and not Path(CGROUPS, "pids").exists()):
                return root / path.lstrip("/"), root
    return None, Path(CGROUPS)


def descriptors(plan: Plan) -> Iterator[str]:
    """Yield a warning if the daemon may not have its descriptors (RLIMIT_NOFILE); a child needs no more of them."""
    most, wanted = limit(plan, proc.FILES), lowest_fd(plan.config) + OTHER_DESCRIPTORS
    if most is not None and wanted > most:
        yield (
            f"the daemon needs {wanted} descriptors, and the limit is {most} (RLIMIT_NOFILE); "
            f"`{raise_limit(plan, 'n', 'nofile', wanted)}`"
        )
