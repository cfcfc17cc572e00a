"""Summaries: of the clients from some networks, health checkers say, one line a minute for each source."""

from __future__ import annotations

import time

from echod.common.config.addresses import pack_host
from echod.common.config.networks import NetworkTable, write_network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.common.config.networks import Network

PERIOD = 60.0  # seconds
MOST_SOURCES, OTHERS = 64, "others"  # those beyond share one line
FOREVER = float("inf")
IPV6_BITS, SUBNET = 128, 64


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
            self.due = self._begun + PERIOD
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
    return write_network((bits, number >> SUBNET << SUBNET, bits - SUBNET)) + percent + interface
