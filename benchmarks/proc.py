"""What /proc tells of a server and its children: who they are, what they cost (proc(5))."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

TICK = 1 / os.sysconf("SC_CLK_TCK")
GONE = (FileNotFoundError, ProcessLookupError)  # before the open, or between it and the read
REAP_TIMEOUT = 30.0  # seconds; ten thousand children take some to exit


class Memory(NamedTuple):
    """KiB resident: in pages that one process alone has mapped, and in shares of all its pages."""

    private: int
    proportional: int


def descendants(pid: int) -> list[int]:
    """Children and their children; a process that vanishes meanwhile is left out."""
    found = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found += [int(pid) for pid in file.read().split()]
    except GONE:
        return []
    return found + [grandchild for child in found for grandchild in descendants(child)]


def cpu(pid: int) -> float:
    """Seconds of user and system time of the server, its children, and those that were reaped.

    The kernel sums a reaped child's time to the nanosecond; only the reading here is in ticks.
    """
    ticks = 0
    for one in (pid, *descendants(pid)):
        try:
            with open(f"/proc/{one}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except GONE:
            continue
        ticks += sum(int(field) for field in fields[11:15])  # utime stime cutime cstime
    return ticks * TICK


def memory(pid: int) -> Memory:
    """Of one process; nothing when it is gone."""
    sums = {"Private_Clean": 0, "Private_Dirty": 0, "Pss": 0}
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                name, _, rest = line.partition(":")
                if name in sums:
                    sums[name] += int(rest.split()[0])
    except GONE:
        return Memory(0, 0)
    return Memory(sums["Private_Clean"] + sums["Private_Dirty"], sums["Pss"])


def memory_held(pid: int, idle: Memory) -> Memory:
    """KiB that the clients cost in all, given what the server alone had before them.

    Pages that the parent had alone and now shares with children are no saving, so of its private memory only growth
    counts; without this the first clients would look cheaper than the rest.
    """
    parent = memory(pid)
    children = [memory(child) for child in descendants(pid)]
    private = max(0, parent.private - idle.private) + sum(child.private for child in children)
    return Memory(private, parent.proportional - idle.proportional + sum(child.proportional for child in children))


def wait_reaped(pid: int, children: int) -> None:
    """Wait until no more than so many children are left. Raises TimeoutError after half a minute."""
    deadline = time.monotonic() + REAP_TIMEOUT
    while len(descendants(pid)) > children:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(descendants(pid))} children are left of clients that are gone")
        time.sleep(0.005)


def available() -> float:
    """Share of the machine's memory that is still to be had."""
    with open("/proc/meminfo") as file:
        sizes = {line.partition(":")[0]: int(line.split()[1]) for line in file}
    return sizes["MemAvailable"] / sizes["MemTotal"]
