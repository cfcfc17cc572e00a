"""What `echod status` shows: the scoreboard as JSON, or as a few lines for people."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from echod.common import scoreboard

if TYPE_CHECKING:
    from echod.common.scoreboard import Scoreboard

STATES = ("starting", "running", "draining")


def snapshot(board: Scoreboard) -> dict[str, Any]:
    """Return the state of a daemon; ages and uptime in seconds, sizes in bytes."""
    now = time.monotonic_ns()
    copy = board.copy()
    words, texts, clients = copy.words, copy.texts(), copy.clients()
    children = [
        {
            "pid": pid,
            "peer": peer,
            "age": seconds(now - begun),
            "idle": seconds(now - last),
            "bytes_in": received,
            "bytes_out": sent,
        }
        for pid, peer, begun, last, received, sent in clients
    ]
    return {
        "state": STATES[min(words[scoreboard.STATE], len(STATES) - 1)],
        "pid": words[scoreboard.PID],
        "uptime": seconds(now - words[scoreboard.STARTED]),
        "listen": [name for name in texts.get("listen", "").split(",") if name],
        "clients": len(clients),
        "max_children": words[scoreboard.MAX_CHILDREN],
        "peak_clients": words[scoreboard.PEAK],
        "accepted": words[scoreboard.ACCEPTED],
        "closed": words[scoreboard.CLOSED],
        "refused": {reason: words[word] for reason, word in scoreboard.REFUSALS.items()},
        "bytes_in": words[scoreboard.BYTES_IN] + sum(child[4] for child in clients),
        "bytes_out": words[scoreboard.BYTES_OUT] + sum(child[5] for child in clients),
        "generation": words[scoreboard.GENERATION],
        "config_file": texts.get("config_file", ""),
        "last_reload": texts.get("last_reload", ""),
        "children": children,
    }


def seconds(nanoseconds: int) -> float:
    """Return nanoseconds as seconds, to the millisecond; never below zero."""
    return round(max(0, nanoseconds) / 1e9, 3)


def size(count: int) -> str:
    """Return a number of bytes for people."""
    if count < 1024:
        return f"{count} B"
    value, unit = count / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f} {unit}"


def span(value: float) -> str:
    """Return a time span for people."""
    whole = int(value)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}min"
    return f"{minutes}min {whole % 60}s" if minutes else f"{value:.1f}s"


def for_people(state: dict[str, Any]) -> str:
    """Return the lines that `status` prints."""
    refused = ", ".join(f"{count} {reason}" for reason, count in state["refused"].items() if count) or "none"
    rows = [
        ("state", f"{state['state']}, pid {state['pid']}, up {span(state['uptime'])}"),
        ("listen", "  ".join(state["listen"]) or "no more"),
        ("clients", f"{state['clients']} of {state['max_children']}, at most {state['peak_clients']} at once so far"),
        ("served", f"{state['accepted']} accepted, {state['closed']} closed"),
        ("refused", refused),
        ("bytes", f"{size(state['bytes_in'])} in, {size(state['bytes_out'])} out"),
        ("config", f"{state['config_file']}, generation {state['generation']}, last reload: {state['last_reload']}"),
    ]
    lines = [f"{name:<9}{text}" for name, text in rows]
    if state["children"]:
        width = max(len(child["peer"]) for child in state["children"]) + 2
        lines += ["", f"{'PID':>8}  {'PEER':<{width}}{'AGE':>10}{'IDLE':>10}{'IN':>12}{'OUT':>12}"]
        lines += [
            f"{child['pid']:>8}  {child['peer']:<{width}}{span(child['age']):>10}{span(child['idle']):>10}"
            f"{size(child['bytes_in']):>12}{size(child['bytes_out']):>12}"
            for child in state["children"]
        ]
    text = "\n".join(lines)
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
