"""The state of a daemon as one dictionary, taken from its scoreboard: what `echod status --json` prints."""

from __future__ import annotations

import time

from echod.cli.netstat import accept_queue
from echod.common import scoreboard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from echod.common.scoreboard import Copy

STATES = ("starting", "running", "draining")


def snapshot(copy: Copy) -> dict[str, Any]:
    """Return the state of a daemon; ages, uptime and full_for in seconds, sizes in bytes."""
    now = time.monotonic_ns()
    words, texts, clients = copy.words, copy.texts(), copy.clients()
    listen = copy.listen()
    max_children, full_since = words[scoreboard.MAX_CHILDREN], words[scoreboard.FULL_SINCE]
    return {
        "state": STATES[max(0, min(words[scoreboard.STATE], len(STATES) - 1))],
        "version": copy.version(),
        "pid": words[scoreboard.PID],
        "uptime": seconds(now - words[scoreboard.STARTED]),
        "listen": listen,
        "clients": len(clients),
        "max_children": max_children,
        "peak_clients": words[scoreboard.PEAK],
        "full_for": seconds(now - full_since) if full_since and len(clients) >= max_children else None,
        "accept_queue": accept_queue(words[scoreboard.PID], listen),
        "accepted": words[scoreboard.ACCEPTED],
        "closed": words[scoreboard.CLOSED],
        "ended": copy.ends(),
        "refused": {reason: words[word] for reason, word in scoreboard.REFUSALS.items()},
        "last_refused": last_refused(copy, now),
        "bytes_in": words[scoreboard.BYTES_IN] + sum(client[4] for client in clients),
        "bytes_out": words[scoreboard.BYTES_OUT] + sum(client[5] for client in clients),
        "generation": words[scoreboard.GENERATION],
        "config_file": texts.get("config_file", ""),
        "overrides": copy.overrides(),
        "last_reload": texts.get("last_reload", ""),
        "log_lines_lost": words[scoreboard.LOG_LINES_LOST],
        "children": [child(client, now) for client in clients],
    }


def child(client: tuple[int, str, int, int, int, int], now: int) -> dict[str, Any]:
    """Return a client of `Copy.clients`."""
    pid, peer, begun, last, received, sent = client
    return {
        "pid": pid,
        "peer": peer,
        "age": seconds(now - begun),
        "idle": seconds(now - last),
        "bytes_in": received,
        "bytes_out": sent,
    }


def last_refused(copy: Copy, now: int) -> dict[str, Any] | None:
    """Return the peer refused last, None when none was."""
    why = copy.words[scoreboard.REFUSED_WHY]
    reason = next((reason for reason, word in scoreboard.REFUSALS.items() if word == why), None)
    if reason is None:
        return None
    age = seconds(now - copy.words[scoreboard.REFUSED_AT])
    return {"peer": copy.text(scoreboard.REFUSED_PEER_AT), "reason": reason, "age": age}


def seconds(nanoseconds: int) -> float:
    """Return nanoseconds as seconds, to the millisecond; never below zero."""
    return round(max(0, nanoseconds) / 1e9, 3)
