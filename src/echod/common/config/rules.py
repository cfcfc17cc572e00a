"""Which clients `allow` and `deny` admit, and which of them are load balancers: the answer, and the rule that decided.

The acceptor, the child behind a load balancer and `check --explain` ask the same object.
"""

from __future__ import annotations

from echod.common.config.addresses import pack_host
from echod.common.config.networks import NetworkTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from echod.common.config.networks import Network
    from echod.common.config.settings import Config

    Packed = tuple[int, int, int]  # 32 or 128 bits, the number, the interface of a link-local address or 0
    Decision = tuple[str, Network | None]

ALLOW, DENY = "allow", "deny"
SCOPE = 3  # the part of an IPv6 address, in the format of accept(2), that is the number of the interface


def pack_peer(address: tuple[Any, ...]) -> Packed:
    """Return an address, in the format of accept(2), as numbers. An IPv4-mapped one is the IPv4 address it carries."""
    bits, number = pack_host(address[0])
    return bits, number, address[SCOPE] if len(address) > SCOPE else 0


class Rules:
    """The settings `allow`, `deny` and `proxy_from`. `are_none` is True if neither `allow` nor `deny` is set."""

    __slots__ = ("_allow", "_deny", "_proxies", "are_none")

    def __init__(self, config: Config) -> None:
        self._allow, self._deny = NetworkTable(config.allow), NetworkTable(config.deny)
        self._proxies = NetworkTable(config.proxy_from)
        self.are_none = not config.allow and not config.deny

    def proxy(self, peer: Packed) -> Network | None:
        """Return the network of `proxy_from` whose connections begin with a PROXY header, or None."""
        return self._proxies.find(peer[0], peer[1])

    def decide(self, peer: Packed) -> Decision:
        """Return ALLOW or DENY and the most specific network that matches. If both lists have it, `deny` decides.

        If no network matches, only a client without any `allow` is allowed.
        """
        bits, number, _ = peer
        allow, deny = self._allow.find(bits, number), self._deny.find(bits, number)
        if deny and (not allow or deny[2] >= allow[2]):
            return DENY, deny
        if allow or not self._allow:
            return ALLOW, allow
        return DENY, None

    def is_allowed(self, peer: Packed) -> bool:
        """Return True if `allow` and `deny` admit a client."""
        return self.are_none or self.decide(peer)[0] == ALLOW
