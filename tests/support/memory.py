"""A cgroup with little memory (cgroups(7), of either version), for processes that are to run out of it."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from support.wait import need_root, skip, wait_for

ROOT = Path("/sys/fs/cgroup")


class MemoryGroup:
    """A cgroup below this process's own, with at most `limit` bytes, for as long as the `with` block lasts."""

    def __init__(self, limit):
        need_root()
        own = dict(line.split(":")[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
        version1 = "memory" in own
        hierarchy = ROOT / "memory" if version1 else ROOT
        self.path = hierarchy / own["memory" if version1 else ""].lstrip("/") / f"echod-test-{os.getpid()}"
        self._limit = self.path / ("memory.limit_in_bytes" if version1 else "memory.max")
        self._events = self.path / ("memory.oom_control" if version1 else "memory.events")
        try:
            self.path.mkdir()
        except OSError:
            skip("a cgroup that the test can make")
        try:
            self._limit.write_text(str(limit))
        except OSError:
            self.path.rmdir()
            skip("a cgroup with a memory controller")
        self.prefix = ("sh", "-c", f'echo 0 >{self.path}/cgroup.procs; exec "$0" "$@"')

    def __enter__(self):
        return self

    def kills(self):
        """Return how many of its processes the kernel has killed."""
        words = self._events.read_text().split()
        return int(words[words.index("oom_kill") + 1])

    def _members(self):
        return (self.path / "cgroup.procs").read_text().split()

    def __exit__(self, *_):
        for pid in self._members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        wait_for(lambda: not self._members(), "the cgroup to be empty")
        self.path.rmdir()
