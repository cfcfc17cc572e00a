"""The table of clients, busiest first: no wider than the terminal, and with no more lines than it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from echod.cli.status.units import size, span
from echod.common.errors import printable

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "PID": lambda child: str(child["pid"]),
    "PEER": lambda child: printable(child["peer"]).replace("\n", " "),
    "AGE": lambda child: span(child["age"]),
    "IDLE": lambda child: span(child["idle"]),
    "IN": lambda child: size(child["bytes_in"]),
    "OUT": lambda child: size(child["bytes_out"]),
    "RATE": lambda child: f"{size(child['rate'])}/s",  # of both directions, where it is known
}
DISPENSABLE = ("OUT", "AGE", "IN", "IDLE", "RATE", "PID")  # in this order, where they do not fit
GAP, CUT = "  ", ".."
FEWEST = 4  # lines: the blank one, the head, a client, how many more
PEER = 21  # columns: the longest IPv4 address with its port


def busy(child: dict[str, Any]) -> tuple[float, float, float]:
    """Return what clients are sorted by: what moves now, where that is known; all that has moved; the last move."""
    return -child.get("rate", 0), -child["bytes_in"] - child["bytes_out"], int(child["idle"])


def table(children: list[dict[str, Any]], columns: int | None, lines: int | None) -> list[str]:
    """Return a blank line, a head, a line each for the busiest, and how many more there are: at most so many lines."""
    if not children or (lines is not None and lines < FEWEST):
        return []
    shown = sorted(children, key=busy)
    if lines is not None and len(shown) > lines - 2:  # the blank line and the head
        shown = shown[: lines - 3]
    left_out = len(children) - len(shown)
    return ["", *fitted(shown, columns), *([f"and {left_out} more"[:columns]] if left_out else [])]


def fitted(children: list[dict[str, Any]], columns: int | None) -> list[str]:
    """Return a head and a line for each client, with the columns that fit."""
    names = [name for name in COLUMNS if name != "RATE" or "rate" in children[0]]
    cells = {name: [name, *map(COLUMNS[name], children)] for name in names}
    widths = {name: max(map(len, cells[name])) for name in names}
    dispensable = [name for name in DISPENSABLE if name in names]
    while columns is not None and (over := total(widths) - columns) > 0:
        if widths["PEER"] - PEER < over and dispensable:
            del widths[dispensable.pop(0)]
        else:
            widths["PEER"] = max(1, widths["PEER"] - over)
            break
    return [
        GAP.join(
            cut(cells[name][row], width).ljust(width) if name == "PEER" else cells[name][row].rjust(width)
            for name, width in widths.items()
        )[:columns]
        for row in range(len(children) + 1)
    ]


def total(widths: dict[str, int]) -> int:
    """Return how wide a line is."""
    return sum(widths.values()) + len(GAP) * (len(widths) - 1)


def cut(text: str, width: int) -> str:
    """Cut a text in its middle: an address keeps its port."""
    if len(text) <= width:
        return text
    tail = min(len(text.rpartition(":")[2]) + 2, width // 2)
    head = max(0, width - tail - len(CUT))
    return f"{text[:head]}{CUT}{text[len(text) - tail :]}"[:width]
