"""What keeps the log short: limits on messages that repeat, and summaries of the clients from some networks.

The counts outlive a reload: the lines and their `left_out` add up to the total, whatever the log is by then.
"""

from __future__ import annotations

import time

from echod.common.config.addresses import pack_host
from echod.common.config.networks import NetworkTable, write_network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.common.config.networks import Network

WINDOW_S = 5.0  # in which one message of a kind from a source is written, and the others are counted
PERIOD_S = 60.0  # of a summary
MOST_SOURCES = 64  # that are told apart; all others count as one
OTHERS = "others"
FOREVER = float("inf")
IPV6_BITS = 128
SUBNET_BITS = 64


class RateLimits:
    """The windows that are open. `due` is when the next one ends; `write` takes a level and a text."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, object], tuple[float, int, int, str]] = {}  # end, left out, level, last text
        self.due = FOREVER

    def limited(self, write: Callable[[int, str], None], level: int, event: str, source: object, text: str) -> None:
        """Write one of the events alike, or count it."""
        key = (event, source)
        if key not in self._windows and len(self._windows) >= MOST_SOURCES:
            key = (event, OTHERS)
        end, left_out, _, _ = self._windows.get(key, (0.0, -1, level, text))
        if left_out < 0:
            write(level, text)
            end = time.monotonic() + WINDOW_S
        self._windows[key] = (end, left_out + 1, level, text)
        self.due = min(self.due, end)

    def flush(self, write: Callable[[int, str], None], now: float) -> None:
        """Close the windows that end by `now`: write the last event left out, and how many more there were."""
        for key, (end, left_out, level, text) in list(self._windows.items()):
            if end <= now:
                del self._windows[key]
                if left_out:
                    write(level, f"{text} left_out={left_out - 1}" if left_out > 1 else text)
                    if now != FOREVER:
                        self._windows[key] = (now + WINDOW_S, 0, level, text)
        self.due = min((window[0] for window in self._windows.values()), default=FOREVER)


class Summaries:
    """The clients of `networks` that have gone since the last lines. `due` is when the next ones are."""

    def __init__(self, networks: tuple[Network, ...]) -> None:
        self.networks = networks
        self._table = NetworkTable(networks)
        self._begun = 0.0
        self._sources: dict[str, dict[str, int]] = {}  # by source: clients, bytes, and how many for each reason
        self.due = FOREVER

    def add(self, peer: str, reason: str, received: int, sent: int) -> bool:
        """Count a client that is gone; False when it is of none of the networks."""
        if not self._table or not self._table.find(*pack_host(peer.rpartition(":")[0].strip("[]"))):
            return False
        source = source_of(peer)
        if not self._sources:
            self._begun = time.monotonic()
            self.due = self._begun + PERIOD_S
        if source not in self._sources and len(self._sources) >= MOST_SOURCES:
            source = OTHERS
        counts = self._sources.setdefault(source, {"clients": 0, "in": 0, "out": 0})
        for key, more in (("clients", 1), ("in", received), ("out", sent), (reason.partition("=")[0], 1)):
            counts[key] = counts.get(key, 0) + more
        return True

    def flush(self, write: Callable[[str], None], now: float) -> None:
        """Write what was counted, if that is due."""
        if now < self.due:
            return
        seconds = round(time.monotonic() - self._begun)
        for source, counts in self._sources.items():
            words = " ".join([f"{key}={count}" for key, count in counts.items()])
            write(f"summary {source=:} {words} secs={seconds}")
        self._sources, self.due = {}, FOREVER


def source_of(peer: str) -> str:
    """Return the source of a client, given as `write_address` writes it: an IPv4 address, or an IPv6 network."""
    host, percent, interface = peer.rpartition(":")[0].strip("[]").partition("%")
    bits, number = pack_host(host)
    if bits != IPV6_BITS:
        return host
    return write_network((bits, number >> SUBNET_BITS << SUBNET_BITS, bits - SUBNET_BITS)) + percent + interface
