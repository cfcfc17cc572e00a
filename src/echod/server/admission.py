"""Who is admitted: `allow` and `deny`, and how many clients one source may have.

A source is an IPv4 address, or the /64 that an IPv6 host usually has to itself (RFC 6177); all of a link's link-local
addresses are one source. An address is as accept(2) gives it.
"""

from __future__ import annotations

from echod.common.config.addresses import pack_host
from echod.common.config.networks import contains, is_in

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

    __slots__ = ("_allow", "_proxies", "_rules", "counts", "limit", "open")

    def __init__(self, config: Config, addresses: Iterable[PeerAddress] = ()) -> None:
        """Take the rules of `config`; `addresses` are those of the clients there are."""
        rules = [(network, False) for network in config.deny] + [(network, True) for network in config.allow]
        self._rules = sorted(rules, key=lambda rule: -rule[0][2])  # the most specific first; of two alike, deny
        self._allow, self._proxies = not config.allow, config.proxy_from
        self.limit = config.max_children_per_source
        self.open = not rules and not self.limit
        self.counts: dict[Source, int] = {}
        if self.limit:
            for address in addresses:
                self.enter(address)

    def rejection(self, address: PeerAddress) -> str:
        """Return why a client is rejected, or an empty string: of one behind a proxy its child finds that out."""
        if self.is_proxy(address):
            return ""
        if not self.is_allowed(address):
            return ACCESS
        if self.limit and self.counts.get(self.source(address), 0) >= self.limit:
            return PER_SOURCE
        return ""

    def is_proxy(self, address: PeerAddress) -> bool:
        """Tell whether a connection begins with the header of the PROXY protocol."""
        return bool(self._proxies) and is_in(self._proxies, address[0])

    def is_allowed(self, address: PeerAddress) -> bool:
        """Tell what `allow` and `deny` have decided."""
        if not self._rules:
            return True
        bits, number = pack_host(address[0])
        for network, verdict in self._rules:
            if contains(network, bits, number):
                return verdict
        return self._allow

    @staticmethod
    def source(address: PeerAddress) -> Source:
        """Return the key that a client is counted under."""
        bits, number = pack_host(address[0])
        if bits == IPV4_BITS:
            return bits, number, 0
        return bits, number >> 64, address[SCOPE] if len(address) > SCOPE else 0

    def enter(self, address: PeerAddress) -> None:
        """Count a client in, unless it is behind a proxy."""
        if self.is_proxy(address):
            return
        source = self.source(address)
        self.counts[source] = self.counts.get(source, 0) + 1

    def leave(self, address: PeerAddress) -> None:
        """Count a client out."""
        if self.is_proxy(address):
            return
        source = self.source(address)
        left = self.counts.get(source, 0) - 1
        if left > 0:
            self.counts[source] = left
        else:
            self.counts.pop(source, None)
