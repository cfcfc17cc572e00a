"""Who may come in: `allow` and `deny`, and how many clients one source may have.

A source is an IPv4 address, or the /64 that an IPv6 host usually has to itself (RFC 6177); all of a link's link-local
addresses are one source. An address is as accept(2) gives it.
"""

from __future__ import annotations

from echod.common.config.addresses import pack_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from echod.common.config.settings import Config

    PeerAddress = tuple[Any, ...]

ACCESS, PER_SOURCE = "access", "per_source"
Source = tuple[int, int, int]
IPV4_BITS, SCOPE = 32, 3  # the scope of an IPv6 address is its fourth part: the interface, where it is link-local


class Admission:
    """The rules in force. It is `open` when there are none; `counts` are kept only where there is a limit."""

    __slots__ = ("_allow", "_rules", "counts", "limit", "open")

    def __init__(self, config: Config, addresses: Iterable[PeerAddress] = ()) -> None:
        """Take the rules of `config`; `addresses` are those of the clients there are."""
        rules = [(network, False) for network in config.deny] + [(network, True) for network in config.allow]
        self._rules = sorted(rules, key=lambda rule: -rule[0][2])  # the most specific first; of two alike, deny
        self._allow = not config.allow
        self.limit = config.max_children_per_source
        self.open = not rules and not self.limit
        self.counts: dict[Source, int] = {}
        if self.limit:
            for address in addresses:
                self.enter(address)

    def rejection(self, address: PeerAddress) -> str:
        """Return why a client may not come in, or an empty string."""
        if self._rules:
            bits, number = pack_host(address[0])
            allowed = self._allow
            for (size, network, prefix), verdict in self._rules:
                if size == bits and number >> (bits - prefix) == network >> (bits - prefix):
                    allowed = verdict
                    break
            if not allowed:
                return ACCESS
        if self.limit and self.counts.get(self.source(address), 0) >= self.limit:
            return PER_SOURCE
        return ""

    @staticmethod
    def source(address: PeerAddress) -> Source:
        """Return the key that a client is counted under."""
        bits, number = pack_host(address[0])
        if bits == IPV4_BITS:
            return bits, number, 0
        return bits, number >> 64, address[SCOPE] if len(address) > SCOPE else 0

    def enter(self, address: PeerAddress) -> None:
        """Count a client in."""
        source = self.source(address)
        self.counts[source] = self.counts.get(source, 0) + 1

    def leave(self, address: PeerAddress) -> None:
        """Count a client out."""
        source = self.source(address)
        left = self.counts.get(source, 0) - 1
        if left > 0:
            self.counts[source] = left
        else:
            self.counts.pop(source, None)
