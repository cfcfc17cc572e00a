"""Print what a connection costs in page faults: other servers, echod, and echod without each of its tricks."""

from __future__ import annotations

import argparse
import compileall
import contextlib
import datetime as dt
import os
import platform
import re
import shutil
import signal
import sys
import tempfile
from typing import TYPE_CHECKING, TypeAlias

import meter
import report
from generator import HERE, BenchmarkError
from peers import PEERS, Echod
from tricks import TRICKS, Trick, changed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from meter import Faults, Summary
    from servers import Peer, Server

SOURCE = os.path.join(os.path.dirname(HERE), "src")
PAGE = os.path.join(os.path.dirname(HERE), "docs", "performance.md")
BLOCK = re.compile(r"(<!-- written by `make cost WRITE=1` -->\n).*?(\n<!-- end of what it has written -->)", re.DOTALL)
AS_IT_IS = "as it is"
STARTS = 3  # of each server: where its memory lies differs from one start to the next, and so does the cost
ROUNDS = 2  # after each start
UNCHANGED = 3  # copies of echod as it is
LOADS: tuple[Callable[[Server], Faults], ...] = (meter.in_a_burst, meter.one_at_a_time)

Figures: TypeAlias = "Mapping[str, tuple[list[Faults], ...]]"  # by name: the rounds of each load


def note(text: str) -> None:
    """Print progress to stderr, apart from the results."""
    print(text, file=sys.stderr, flush=True)


def copy_without(trick: Trick, original: str, directory: str) -> str:
    """Copy the sources with their bytecode, take a trick out; return the folder. Raises BenchmarkError."""
    texts = changed(trick, os.path.join(original, "echod"))
    shutil.copytree(original, directory)
    for path, text in texts.items():
        with open(os.path.join(directory, os.path.relpath(path, original)), "w") as file:
            file.write(text)
    return directory


def variants(directory: str, tricks: Sequence[Trick]) -> list[tuple[str, Peer]]:
    """Return echod as it is and without each of the tricks, by name; all from copies, so that nothing else differs.

    The names of the folders have one length, since they are in the memory of the daemon. Echod as it is comes several
    times, first, last and between: all others are compared with it.
    """
    original = os.path.join(directory, "00")
    shutil.copytree(SOURCE, original, ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(original, quiet=2)
    found: list[tuple[str, Peer]] = [
        (trick.name, Echod(copy_without(trick, original, os.path.join(directory, f"{number:02}"))))
        for number, trick in enumerate(tricks, 1)
    ]
    for number in range(UNCHANGED):
        found.insert(number * len(found) // (UNCHANGED - 1), (AS_IT_IS, Echod(original)))
    return found


def measure(peers: Sequence[tuple[str, Peer]]) -> Figures:
    """Measure the servers in turn while all of them run, so that whatever the machine does meets all of them."""
    figures: Figures = {name: tuple([] for _ in LOADS) for name, _ in peers}
    for start in range(STARTS):
        with contextlib.ExitStack() as stack:
            servers = [(name, stack.enter_context(peer.serving())) for name, peer in peers]
            for number in range(ROUNDS + 1):
                for name, server in servers:
                    taken = [load(server) for load in LOADS]
                    if number:  # the first one warms caches
                        for rounds, faults in zip(figures[name], taken, strict=True):
                            rounds.append(faults)
        note(f"{start + 1} of {STARTS} starts measured")
    return figures


def cells(found: Summary) -> list[str]:
    """Return the columns of one load."""
    return [f"{found.median.server:.1f}", f"{found.median.child:.1f}", f"{found.median.total:.1f}",
            f"{found.lowest:.1f}..{found.highest:.1f}"]  # fmt: skip


def of_servers(figures: Figures, peers: Iterable[Peer]) -> str:
    """Return the table of the servers."""
    rows = []
    for load, title in enumerate(("in a burst", "one at a time")):
        for peer in peers:
            name = AS_IT_IS if peer.name == "echod" else peer.name
            rows.append([f"{peer.title}, {title}", *cells(meter.summary(figures[name][load]))])
    return report.table(["page faults per connection", "server", "child", "both", "lowest..highest"], rows)


def of_tricks(figures: Figures, tricks: Iterable[Trick]) -> str:
    """Return the table of the tricks: how many page faults more a connection takes without each."""
    usual = [meter.summary(rounds).median.total for rounds in figures[AS_IT_IS]]
    rows = []
    for trick in tricks:
        without = [meter.summary(rounds).median.total for rounds in figures[trick.name]]
        rows.append([trick.name, *(f"{one - all_:+.1f}" for one, all_ in zip(without, usual, strict=True))])
    return report.table(["page faults more per connection without", "in a burst", "one at a time"], rows)


def facts() -> str:
    """Return what the figures belong to."""
    kernel = f"{platform.system()} {platform.release()}"
    day = f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}"
    return f"Measured on {day}: {report.processor()}, {kernel}, Python {platform.python_version()}."


def replace(page: str, text: str) -> str:
    """Return the page with this text between its marks. Raises BenchmarkError when they are missing."""
    if not BLOCK.search(page):
        raise BenchmarkError("docs/performance.md: the comments around the figures are missing")
    return BLOCK.sub(lambda found: found[1] + text + found[2], page)


def main() -> int:
    """Return the exit code: 1 if a server fails, or if a trick cannot be taken out; never for a figure."""
    parser = argparse.ArgumentParser(prog="cost", description=__doc__)
    parser.add_argument("--servers", action="store_true", help="only the servers, not what each trick saves")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/performance.md as well")
    arguments = parser.parse_args()
    if arguments.servers and arguments.write:
        parser.error("--write: the page has both tables")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end the servers first
    tricks = () if arguments.servers else TRICKS
    try:
        with tempfile.TemporaryDirectory(prefix="echod-cost-") as directory:
            os.chmod(directory, 0o755)  # the daemon's user is to read its program
            others = [peer for name in ("smallest", "textbook") if not note_missing(peer := PEERS[name])]
            figures = measure([*variants(directory, tricks), *((peer.name, peer) for peer in others)])
    except (BenchmarkError, OSError) as error:
        note(f"cost: {error}")
        return 1
    except KeyboardInterrupt:
        note("cost: interrupted")
        return 130
    text = of_servers(figures, [PEERS["echod"], *others])
    text += "\n" + of_tricks(figures, tricks) if tricks else ""
    print(text, end="")
    if arguments.write:
        with open(PAGE) as file:
            page = replace(file.read(), f"{facts()}\n\n{text.rstrip()}")
        with open(PAGE, "w") as file:
            file.write(page)
        note("wrote docs/performance.md")
    return 0


def note_missing(peer: Peer) -> bool:
    """Return True, and say so, if a server cannot take part."""
    if reason := peer.missing():
        note(f"left out: {reason}")
    return bool(reason)


if __name__ == "__main__":
    sys.exit(main())
