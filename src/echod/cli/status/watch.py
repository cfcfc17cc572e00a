"""`status --watch`: the snapshot on the whole terminal, again and again, with what has changed in between as rates."""

from __future__ import annotations

import contextlib
import curses
import locale
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

from echod.cli.status.text import for_people
from echod.common.errors import USAGE, EchodError

if TYPE_CHECKING:
    from collections.abc import Callable

COUNTERS = ("accepted", "bytes_in", "bytes_out")
QUIT = ord("q")
SHORTEST_INTERVAL_S = 0.1
LONGEST_WAIT_MS = 500


def watch(read: Callable[[], dict[str, Any] | str], interval: float) -> None:
    """Show what `read` returns, a snapshot or why there is none, each `interval` seconds until Ctrl-C or q.

    Raises EchodError where standard output is no terminal, or none that curses knows.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise EchodError("status: --watch needs a terminal", USAGE)
    with contextlib.suppress(locale.Error):  # LANG names one that this machine does not have
        locale.setlocale(locale.LC_ALL, "")
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)
    try:
        curses.setupterm()
        if not curses.tigetstr("cup"):
            raise curses.error("its cursor cannot be moved")
        curses.wrapper(show, read, max(interval, SHORTEST_INTERVAL_S))
    except KeyboardInterrupt:
        return
    except curses.error as error:
        raise EchodError(f"status: --watch: this terminal cannot be used: {error}; see TERM", USAGE) from None


def leave(signum: int, _frame: object) -> NoReturn:
    """End in order, as a signal handler: the terminal is left as it was."""
    sys.exit(128 + signum)


def show(screen: curses.window, read: Callable[[], dict[str, Any] | str], interval: float) -> None:
    """Read and draw until somebody ends it."""
    for prepare in (curses.use_default_colors, lambda: curses.curs_set(0)):
        with contextlib.suppress(curses.error):  # a terminal without colours, or whose cursor cannot be hidden
            prepare()
    before: dict[str, Any] | None = None
    while True:
        due = time.monotonic() + interval
        state = read()
        if isinstance(state, str):
            before, now = None, None
        else:
            now = with_rates(state, before)
            before = state
        draw(screen, now or str(state))
        while (left := due - time.monotonic()) > 0:
            # Curses looks for SIGWINCH after a wait: after a long one, if it came shortly before that began.
            screen.timeout(min(max(1, round(left * 1000)), LONGEST_WAIT_MS))
            key = screen.getch()
            if key == QUIT:
                return
            if key == curses.KEY_RESIZE:
                draw(screen, now or str(state))


def draw(screen: curses.window, state: dict[str, Any] | str) -> None:
    """Draw a snapshot, as large as the terminal is now."""
    lines, columns = screen.getmaxyx()
    text = state if isinstance(state, str) else for_people(state, columns, lines)
    screen.erase()
    for number, line in enumerate(text.split("\n")[:lines]):
        screen.insnstr(number, 0, line, columns, curses.A_REVERSE if line.lstrip().startswith("PID ") else 0)
    screen.refresh()


def with_rates(state: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """Return a snapshot with `rates`, and a `rate` for each client, a second each since the one before.

    Without one before, or when that was of another process, it has none.
    """
    if before is None or before["pid"] != state["pid"] or (seconds := state["uptime"] - before["uptime"]) <= 0:
        return state
    rates = {name: (state[name] - before[name]) / seconds for name in COUNTERS}
    rates["refused"] = (sum(state["refused"].values()) - sum(before["refused"].values())) / seconds
    moved = {(child["pid"], child["peer"]): child["bytes_in"] + child["bytes_out"] for child in before["children"]}
    children = [
        child
        | {
            "rate": (child["bytes_in"] + child["bytes_out"] - moved.get((child["pid"], child["peer"]), 0)) / seconds,
        }
        for child in state["children"]
    ]
    return state | {"rates": rates, "children": children}
