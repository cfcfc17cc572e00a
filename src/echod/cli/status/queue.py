"""How many clients wait to be accepted: the accept queues of the listeners, as the kernel has them.

A row of /proc/PID/net/tcp or tcp6, of that process's network namespace, that is in state LISTEN tells in rx_queue how
many connections wait (proc(5)). The kernel lists these rows first, whatever the number of connections behind them.
"""

from __future__ import annotations

import contextlib
import socket
import sys

LISTEN = "0A"
TABLES = ("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)
WORD = 4  # bytes: an address is written as 32-bit words of the machine's byte order


def queued(pid: int, listening: list[str]) -> int | None:
    """Return how many wait at the listeners of a process, by their names; None when that cannot be told."""
    wanted = {unscoped(name) for name in listening}
    total, known = 0, False
    for table, family in TABLES:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/net/{table}", encoding="ascii") as file:
            known = True
            next(file, None)
            for line in file:
                _, local, _, state, queues = line.split(maxsplit=5)[:5]
                if state != LISTEN:
                    break
                if address(local, family) in wanted:
                    total += int(queues.partition(":")[2], 16)
    return total if known else None


def unscoped(name: str) -> tuple[str, int]:
    """Return host and port of a listener's name, `HOST:PORT` or `[V6%IFACE]:PORT`: the tables have no interface."""
    host, _, port = name.rpartition(":")
    return host.strip("[]").partition("%")[0], int(port) if port.isdecimal() else -1


def address(text: str, family: socket.AddressFamily) -> tuple[str, int]:
    """Return host and port of an address in the table, as `0100007F:6D4A`."""
    digits, _, port = text.partition(":")
    raw = bytes.fromhex(digits)
    if sys.byteorder == "little":
        raw = b"".join(raw[at : at + WORD][::-1] for at in range(0, len(raw), WORD))
    return socket.inet_ntop(family, raw), int(port, 16)
