"""The state of a daemon as one dictionary, taken from its scoreboard: what `echod status --json` prints."""

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
        "state": STATES[max(0, min(words[scoreboard.STATE], len(STATES) - 1))],
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
