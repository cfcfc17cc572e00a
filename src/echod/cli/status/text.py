"""What `status` prints for people, fitted to a terminal: aligned facts, a table of clients with the busiest first.

It knows snapshots and nothing of scoreboards or /proc, so that `--watch` can draw what `status` prints.
"""

from __future__ import annotations

import os

from echod.common.config.file import DEFAULT_PATH
from echod.common.errors import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

LABEL_COLUMNS = 10
BYTES = ("bytes_in", "in"), ("bytes_out", "out")
LEAST_COLUMNS = 20  # a narrower terminal gets lines that are too long for it
DEFAULT_COLUMNS = 80  # of a terminal that does not know its size
DEFAULT_LINES = 24
TABLE: dict[str, Callable[[dict[str, Any]], str]] = {
    "PID": lambda child: str(child["pid"]),
    "PEER": lambda child: one_line(child["peer"]),
    "AGE": lambda child: span(child["age"]),
    "IDLE": lambda child: span(child["idle"]),
    "IN": lambda child: size(child["bytes_in"]),
    "OUT": lambda child: size(child["bytes_out"]),
    "RATE": lambda child: f"{size(child['rate'])}/s",  # of both directions; only `--watch` knows it
}
DISPENSABLE = ("OUT", "AGE", "IN", "IDLE", "RATE", "PID")  # dropped in this order if the table is too wide
VERDICTS = {True: "ok", False: "NOT OK", None: "?"}  # of `status --processes`
VERDICT_COLUMNS = 8
VERDICTS_LEAST_COLUMNS = 40
MOST_CHARACTERS = 4096  # of another process's words: its environment may have megabytes
GAP = "  "
CUT = ".."
TABLE_LEAST_LINES = 4  # the empty one, the head, a client, and how many more
PEER_COLUMNS = 21  # the longest IPv4 address with its port
KIB = 1024
DAY_S = 86400
HOUR_S = 3600
MINUTE_S = 60


def terminal(fd: int) -> tuple[int, int] | None:
    """Return columns and lines of the terminal on a descriptor, or None if it is not a terminal."""
    try:
        columns, lines = os.get_terminal_size(fd)
    except OSError:
        return None
    return columns or DEFAULT_COLUMNS, lines or DEFAULT_LINES


def for_people(state: dict[str, Any], columns: int | None = None, lines: int | None = None) -> str:
    """Return the lines that `status` prints: no wider than `columns`, no more clients than fit `lines`."""
    text = [line for label, fact in facts(state) for line in wrap(f"{label:<{LABEL_COLUMNS}}{one_line(fact)}", columns)]
    return "\n".join(text + table(state["children"], columns, None if lines is None else lines - len(text)))


def one_line(text: str) -> str:
    """Return a text from a file or from another process as it may stand in a line on a terminal."""
    return printable(text).replace("\n", " ")


def wrap(line: str, columns: int | None) -> list[str]:
    """Break a line that is too long, aligned below its text."""
    if columns is None or len(line) <= columns:
        return [line]
    import textwrap  # noqa: PLC0415 - for a terminal, and not for programs

    return textwrap.wrap(
        line, max(columns, LEAST_COLUMNS), subsequent_indent=" " * LABEL_COLUMNS, break_on_hyphens=False
    )


def facts(state: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the facts about the daemon, each with its label. `rates` in the state has the current rates."""
    rate = state.get("rates", {}).get
    rows = [
        ("state", f"{state['state']}, pid {state['pid']}, up {span(state['uptime'])}, version {state['version']}"),
        ("listen", "  ".join(state["listen"]) or "no more"),
        ("clients", ", ".join(clients(state))),
        ("accepted", f"{state['accepted']}{per_second(rate('accepted'))}, {state['closed']} closed"),
        ("ended", counts(state["ended"].items()) or "none"),
        ("refused", f"{counts(state['refused'].items()) or 'none'}{per_second(rate('refused'))}{last_refused(state)}"),
        ("bytes", ", ".join(f"{size(state[name])} {way}{per_second(rate(name), 'B')}" for name, way in BYTES)),
        ("config", f"{config(state)}, generation {state['generation']}, last reload: {state['last_reload']}"),
    ]
    if state["overrides"]:
        rows.append(("options", " ".join(f"-o {text}" for text in state["overrides"])))
    return [*rows, ("log", f"{state['log_lines_lost'] or 'no'} lines lost")]


def config(state: dict[str, Any]) -> str:
    """Return the config file, or that there is none: a daemon needs no file at the default path."""
    is_missing = state["config_file"] == DEFAULT_PATH and not os.path.exists(DEFAULT_PATH)
    return "built-in defaults" if is_missing else str(state["config_file"])


def clients(state: dict[str, Any]) -> Iterable[str]:
    """Yield the facts about the number of clients."""
    yield f"{state['clients']} of {state['max_children']}"
    yield f"peak {state['peak_clients']}"
    if state["full_for"] is not None:
        yield f"full for {span(state['full_for'])}"
    if state["accept_queue"] is not None:
        yield f"{state['accept_queue'] or 'none'} in the accept queue"


def counts(items: Iterable[tuple[str, int]]) -> str:
    """Return the counters that are not zero."""
    return ", ".join(f"{count} {name}" for name, count in items if count)


def last_refused(state: dict[str, Any]) -> str:
    """Return the client that was refused last, why, and when."""
    last = state["last_refused"]
    return f"; last {last['peer']}, {last['reason']}, {span(last['age'])} ago" if last else ""


def busy(child: dict[str, Any]) -> tuple[float, float, float]:
    """Return the key that sorts clients: the current rate, if it is known; the bytes in total; the last activity."""
    return -child.get("rate", 0), -child["bytes_in"] - child["bytes_out"], int(child["idle"])


def table(children: list[dict[str, Any]], columns: int | None, lines: int | None) -> list[str]:
    """Return at most `lines` lines: an empty one, a head, one per client, and how many clients are left out."""
    if not children or (lines is not None and lines < TABLE_LEAST_LINES):
        return []
    shown = sorted(children, key=busy)
    if lines is not None and len(shown) > lines - 2:  # the empty line and the head
        shown = shown[: lines - 3]
    left_out = len(children) - len(shown)
    return ["", *fitted(shown, columns), *([f"and {left_out} more"[:columns]] if left_out else [])]


def fitted(children: list[dict[str, Any]], columns: int | None) -> list[str]:
    """Return a head and a line for each client, with the columns that fit."""
    names = [name for name in TABLE if name != "RATE" or "rate" in children[0]]
    cells = {name: [name, *map(TABLE[name], children)] for name in names}
    widths = {name: max(map(len, cells[name])) for name in names}
    dispensable = [name for name in DISPENSABLE if name in names]
    while columns is not None and (over := total(widths) - columns) > 0:
        if widths["PEER"] - PEER_COLUMNS < over and dispensable:
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
    """Return the width of a line."""
    return sum(widths.values()) + len(GAP) * (len(widths) - 1)


def cut(text: str, width: int) -> str:
    """Cut a text in its middle, so that an address keeps its port."""
    if len(text) <= width:
        return text
    tail = min(len(text.rpartition(":")[2]) + 2, width // 2)
    head = max(0, width - tail - len(CUT))
    return f"{text[:head]}{CUT}{text[len(text) - tail :]}"[:width]


def aligned(lines: Sequence[tuple[str, str, str, bool | None]], columns: int | None) -> str:
    """Return the lines of `status --processes`: the verdict, the thing examined, what it is and what it should be."""
    import textwrap  # noqa: PLC0415 - as above

    width = max(len(line[0]) for line in lines)
    text: list[str] = []
    for what, found, wanted, ok in lines:
        is_now, should_be = (one_line(words[:MOST_CHARACTERS]) for words in (found, wanted))
        whole = f"{VERDICTS[ok]:<{VERDICT_COLUMNS}}{what:<{width}}  {is_now} (should be: {should_be})"
        indent = " " * LABEL_COLUMNS
        text += (
            textwrap.wrap(whole, max(columns, VERDICTS_LEAST_COLUMNS), subsequent_indent=indent) if columns else [whole]
        )
    return "\n".join(text)


def size(count: float) -> str:
    """Return a number of bytes."""
    if count < KIB:
        return f"{count:.0f} B"
    value, unit = count / KIB, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if value < KIB:
            break
        value, unit = value / KIB, larger
    return f"{value:.1f} {unit}"


def span(value: float) -> str:
    """Return a time span, given in seconds."""
    whole = int(value)
    days, hours, minutes = whole // DAY_S, whole // HOUR_S % 24, whole // MINUTE_S % 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}min"
    return f"{minutes}min {whole % MINUTE_S}s" if minutes else f"{value:.1f}s"


def per_second(rate: float | None, unit: str = "") -> str:
    """Return a rate of bytes (unit B) or of events, in parentheses after a space, or nothing if it is unknown."""
    if rate is None:
        return ""
    return f" ({size(rate)}/s)" if unit == "B" else f" ({rate:.1f}/s)"
