"""A snapshot as aligned lines for people, and a table of the clients, fitted to a terminal."""

from __future__ import annotations

import os
import textwrap
from typing import TYPE_CHECKING, Any

from echod.cli.status.table import table
from echod.cli.status.units import per_second, size, span
from echod.common.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

LABEL = 10  # columns of the terminal, as all here
BYTES = ("bytes_in", "in"), ("bytes_out", "out")
NARROWEST, USUAL = 20, (80, 24)  # a terminal without a size has the usual one


def terminal(fd: int) -> tuple[int, int] | None:
    """Return columns and lines of the terminal on a descriptor, None where there is none."""
    try:
        columns, lines = os.get_terminal_size(fd)
    except OSError:
        return None
    return columns or USUAL[0], lines or USUAL[1]


def for_people(state: dict[str, Any], columns: int | None = None, lines: int | None = None) -> str:
    """Return the lines that `status` prints: no wider than `columns`, no more clients than fit `lines`."""
    text = [line for label, fact in facts(state) for line in wrap(f"{label:<{LABEL}}{printable(fact)}", columns)]
    return "\n".join(text + table(state["children"], columns, None if lines is None else lines - len(text)))


def wrap(line: str, columns: int | None) -> list[str]:
    """Break a line that is too long, aligned below its text."""
    line = line.replace("\n", " ")
    if columns is None or len(line) <= columns:
        return [line]
    return textwrap.wrap(line, max(columns, NARROWEST), subsequent_indent=" " * LABEL, break_on_hyphens=False)


def facts(state: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what there is to tell of the daemon, each with its label. `rates` in the state is what happens now."""
    rate = state.get("rates", {}).get
    rows = [
        ("state", f"{state['state']}, pid {state['pid']}, up {span(state['uptime'])}, version {state['version']}"),
        ("listen", "  ".join(state["listen"]) or "no more"),
        ("clients", ", ".join(clients(state))),
        ("accepted", f"{state['accepted']}{per_second(rate('accepted'))}, {state['closed']} closed"),
        ("ended", counts(state["ended"].items()) or "none"),
        ("refused", f"{counts(state['refused'].items()) or 'none'}{per_second(rate('refused'))}{last_refused(state)}"),
        ("bytes", ", ".join(f"{size(state[name])} {way}{per_second(rate(name), 'B')}" for name, way in BYTES)),
        ("config", f"{state['config_file']}, generation {state['generation']}, last reload: {state['last_reload']}"),
    ]
    if state["overrides"]:
        rows.append(("options", " ".join(f"-o {text}" for text in state["overrides"])))
    return [*rows, ("log", f"{state['log_lines_lost'] or 'no'} lines lost")]


def clients(state: dict[str, Any]) -> Iterable[str]:
    """Yield what there is to tell of the number of clients."""
    yield f"{state['clients']} of {state['max_children']}"
    yield f"peak {state['peak_clients']}"
    if state["full_since"] is not None:
        yield f"full for {span(state['full_since'])}"
    if state["queued"] is not None:
        yield f"{state['queued'] or 'none'} waiting to be accepted"


def counts(items: Iterable[tuple[str, int]]) -> str:
    """Return those counters that are not zero."""
    return ", ".join(f"{count} {name}" for name, count in items if count)


def last_refused(state: dict[str, Any]) -> str:
    """Return who was refused last."""
    last = state["last_refused"]
    return f"; last {last['peer']}, {last['reason']}, {span(last['age'])} ago" if last else ""
