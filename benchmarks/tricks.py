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


ACCEPTOR, CHILDREN, SESSION = "server/acceptor.py", "server/children.py", "server/session.py"
RAISE = """        try:
            write(self._oom.fd, self._oom.{})
        except OSError as error:
            report(self.log, "oom_score_adj", error)
"""
ATTEMPT = '        attempt(self.log, "oom_score_adj", write, self._oom.fd, self._oom.{})\n'

TRICKS = (
    trick("the warm-up: a child's code is specialised before the first fork",
          (CHILDREN, "        serve_ourselves(serve)\n", "")),
    trick("LD_BIND_NOW: symbols are resolved before the first fork",
          ("cli/launch.py", '{"LD_BIND_NOW": "1", "LC_ALL": "C"}', '{"LC_ALL": "C"}')),
    trick("first reads of 960 bytes, which malloc has at hand (without: 16 KiB)",
          ("server/buffer.py", "FIRST = 960", "FIRST = 16 << 10")),
    trick("a pool of Child records (without: a new record for each client)",
          (CHILDREN, "child = (self._free or self._add_slots()).pop()",
           "child = Child((self._free or self._add_slots()).pop().slot)")),
    trick("the record that was freed last is used first (without: the one that was freed first)",
          (CHILDREN, "child = (self._free or self._add_slots()).pop()",
           "child = (self._free or self._add_slots()).pop(0)")),
    trick("16 slots are taken at a time (without: one)",
          (CHILDREN, "BATCH, SLOTS = 64, 16", "BATCH, SLOTS = 64, 1")),
    trick("begin_pools: small objects side by side",
          (CHILDREN, "self._kept = begin_pools()", "self._kept: list[object] = []")),
    trick("reserve, free_reserved: blocks of malloc side by side",
          ("server/warm_up.py", "RESERVED = reserve()", "RESERVED: list[object] = []"),
          (CHILDREN, "        free_reserved()\n", "")),
    trick("calls by names of the module (without: os.read and so on)",
          (SESSION, "else read(fd, FIRST)", "else os.read(fd, FIRST)"),
          (SESSION, "written = write(fd, data)", "written = os.write(fd, data)"),
          (SESSION, "= counters[at + LAST] = monotonic_ns()", "= counters[at + LAST] = time.monotonic_ns()"),
          (SESSION, "  counters[at + LAST] = monotonic_ns()", "  counters[at + LAST] = time.monotonic_ns()"),
          (CHILDREN, "                closerange(lowest, fd)\n", "                os.closerange(lowest, fd)\n"),
          (CHILDREN, "                closerange(fd + 1, ", "                os.closerange(fd + 1, "),
          (ACCEPTOR, "                    close(fd)\n", "                    os.close(fd)\n"),
          (ACCEPTOR, "write(self._oom.fd, self._oom.raised)", "os.write(self._oom.fd, self._oom.raised)"),
          (ACCEPTOR, "write(self._oom.fd, self._oom.own)", "os.write(self._oom.fd, self._oom.own)")),
    trick("SIGCHLD is at its default in a burst (without: each one wakes the loop)",
          (CHILDREN, "        self.signals.set_waking(False)\n", "")),
    trick("accepting in batches of 16 (without: one)",
          (ACCEPTOR, 'FOREVER, PAUSE, BURST = float("inf"), 0.1, 16', 'FOREVER, PAUSE, BURST = float("inf"), 0.1, 1')),
    trick("reaping after 64 clients (without: 16)",
          (CHILDREN, "BATCH, SLOTS = 64, 16", "BATCH, SLOTS = 16, 16")),
    trick("reaping after a quiet period or 64 clients (without: each time)",
          (CHILDREN, "BATCH, SLOTS = 64, 16", "BATCH, SLOTS = 1, 16"),
          ("server/server.py", 'QUIET, FOREVER = 5, float("inf")', 'QUIET, FOREVER = 0, float("inf")')),
    trick("gc.disable", ("server/main.py", "    gc.disable()", "    gc.enable()")),
    trick("gc.freeze", ("server/main.py", "        gc.freeze()", "        gc.get_freeze_count()")),
    trick("words of type long (without: long long)",
          ("common/scoreboard.py", '= "l" if LONG == WORD_SIZE else "q"', '= "q"')),
    trick("Child.named is a number (without: a bool)",
          (CHILDREN, "int(config.proxy_from != ())", "config.proxy_from != ()"),
          (CHILDREN, 'EXITED, "", 0', 'EXITED, "", False')),
    trick("what a free record held is forgotten",
          (CHILDREN, 'address, child.address, child.peer = child.address, (), ""', "address = child.address")),
    trick("oom_score_adj is written without `attempt`",
          (ACCEPTOR, RAISE.format("raised"), ATTEMPT.format("raised")),
          (ACCEPTOR, RAISE.format("own"), ATTEMPT.format("own"))),
    trick("C modules (without: os, socket, signal)",
          ("common/cmodules.py", "TYPE_CHECKING = False", "TYPE_CHECKING = True")),
)  # fmt: skip
