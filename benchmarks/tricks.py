"""What echod does for the cost of a connection alone, each with the change that takes it out.

`make cost` measures the daemon without each of them in turn. A change is text that a file of src/echod holds exactly
once, and the text that replaces it. If the code no longer holds it, the run and a test fail: adapt the change.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from generator import BenchmarkError


class Change(NamedTuple):
    """The text `old` of a file, which is there exactly once, and the text that replaces it."""

    file: str
    old: str
    new: str


class Trick(NamedTuple):
    """A name for people, and the changes without which echod works as well."""

    name: str
    changes: tuple[Change, ...]


def trick(name: str, *changes: tuple[str, str, str]) -> Trick:
    """Return a trick; the files are below src/echod."""
    return Trick(name, tuple(Change(*change) for change in changes))


def changed(trick: Trick, package: str) -> dict[str, str]:
    """Return the text of each file without the trick, by path. Raises BenchmarkError if the code has changed."""
    texts: dict[str, str] = {}
    for file, old, new in trick.changes:
        path = os.path.join(package, file)
        if path not in texts:
            with open(path) as source:
                texts[path] = source.read()
        if (found := texts[path].count(old)) != 1:
            raise BenchmarkError(f"tricks.py, {trick.name!r}: {file} holds this text {found} times, not once:\n{old}")
        texts[path] = texts[path].replace(old, new)
    return texts


ACCEPTOR = "server/acceptor.py"
CHILDREN = "server/children.py"
SESSION = "session/session.py"
WARM_UP = "server/lean/warm_up.py"
SLOTS = "server/lean/slots.py"

TRICKS = (
    trick("the rehearsal: a child's code is specialised before the first fork",
          (WARM_UP, "TIMES = 100", "TIMES = 1")),
    trick("LD_BIND_NOW: symbols are resolved before the first fork",
          ("cli/launch.py", '{"LD_BIND_NOW": "1", "LC_ALL": "C"}', '{"LC_ALL": "C"}')),
    trick("first reads of 960 bytes, which malloc has at hand (without: 16 KiB)",
          ("session/bulk.py", "FIRST_READ_BYTES = 960", "FIRST_READ_BYTES = 16 << 10")),
    trick("a pool of Child records (without: a new record for each client)",
          (CHILDREN, "child = (self._free or self._slots.add()).pop()",
           "child = Child((self._free or self._slots.add()).pop().slot)")),
    trick("the record that was freed last is used first (without: the one that was freed first)",
          (CHILDREN, "child = (self._free or self._slots.add()).pop()",
           "child = (self._free or self._slots.add()).pop(0)")),
    trick("16 slots are taken at a time (without: one)",
          (SLOTS, "SLOTS_AT_ONCE = 16", "SLOTS_AT_ONCE = 1")),
    trick("begin_pools: small objects side by side",
          (WARM_UP, "    _kept.extend(heap.begin_pools())\n", "")),
    trick("reserve, free_reserved: blocks of malloc side by side",
          ("server/boot.py", "heap.reserve()", "heap"),
          (WARM_UP, "    heap.free_reserved()\n", "")),
    trick("what a client runs is copied: functions and their code side by side",
          (WARM_UP, "        heap.copy_method(owner, name)\n", "        pass\n")),
    trick("words of type long (without: long long)",
          ("common/scoreboard.py", '= "l" if LONG == WORD_SIZE else "q"', '= "q"')),
    trick("calls by their own names (without: os.read and so on)",
          (SESSION, "else read(fd, FIRST_READ_BYTES)", "else os.read(fd, FIRST_READ_BYTES)"),
          (SESSION, "written = write(fd, data)", "written = os.write(fd, data)"),
          (SESSION, "= counters[at + LAST] = monotonic_ns()", "= counters[at + LAST] = time.monotonic_ns()"),
          (CHILDREN, "found := waitpid(-1", "found := os.waitpid(-1")),
    trick("SIGCHLD is at its default in a burst (without: each one wakes the loop)",
          (CHILDREN, "        self._signals.watch_children(False)\n", "")),
    trick("accepting in batches of 16 (without: one)",
          (ACCEPTOR, "BURST_CLIENTS = 16", "BURST_CLIENTS = 1")),
    trick("reaping after 64 clients (without: 16)",
          (CHILDREN, "BATCH_CLIENTS = 64", "BATCH_CLIENTS = 16")),
    trick("reaping after a quiet period or 64 clients (without: each time)",
          (CHILDREN, "BATCH_CLIENTS = 64", "BATCH_CLIENTS = 1"),
          ("server/server.py", "QUIET_MS = 5", "QUIET_MS = 0")),
    trick("gc.disable", ("server/main.py", "    gc.disable()", "    gc.enable()")),
    trick("what a free record held is forgotten",
          (SLOTS, 'child.state, child.address, child.peer = FREE, (), ""', "child.state = FREE")),
    trick("C modules (without: os, socket, signal)",
          ("common/cmodules.py", "TYPE_CHECKING = False", "TYPE_CHECKING = True")),
)  # fmt: skip
