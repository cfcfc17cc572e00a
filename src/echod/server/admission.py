"""Who may come in: `allow` and `deny`, and how many clients one source may have.

A source is an IPv4 address, or the /64 that an IPv6 host usually has to itself (RFC 6177).
"""

from __future__ import annotations

from echod.common.config.values import pack_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from echod.common.config.settings import Config

ACCESS, PER_SOURCE = "access", "per_source"
Source = tuple[int, int]


class Admission:
    """The rules in force. It is `open` when there are none; `counts` are kept only where there is a limit."""

    __slots__ = ("_allow", "_rules", "counts", "limit", "open")

    def __init__(self, config: Config, hosts: Iterable[str] = ()) -> None:
        """Take the rules of `config`; `hosts` are those of the clients there are."""
        rules = [(network, False) for network in config.deny] + [(network, True) for network in config.allow]
        self._rules = sorted(rules, key=lambda rule: -rule[0][2])  # the most specific first; of two alike, deny
        self._allow = not config.allow
        self.limit = config.max_children_per_source
        self.open = not rules and not self.limit
        self.counts: dict[Source, int] = {}
        if self.limit:
            for host in hosts:
                self.enter(host)

    def refusal(self, host: str) -> str:
        """Return why a client from `host` may not come in, or an empty string."""
        if self._rules:
            bits, number = pack_host(host)
            allowed = self._allow
            for (size, network, prefix), verdict in self._rules:
                if size == bits and number >> (bits - prefix) == network >> (bits - prefix):
                    allowed = verdict
                    break
            if not allowed:
                return ACCESS
        if self.limit and self.counts.get(self.source(host), 0) >= self.limit:
            return PER_SOURCE
        return ""

    @staticmethod
    def source(host: str) -> Source:
        """Return the key that a host is counted under."""
        bits, number = pack_host(host)
        return (bits, number) if bits == 32 else (bits, number >> 64)  # noqa: PLR2004 - the bits of IPv4

    def enter(self, host: str) -> None:
        """Count a client in."""
        source = self.source(host)
        self.counts[source] = self.counts.get(source, 0) + 1

    def leave(self, host: str) -> None:
        """Count a client out."""
        source = self.source(host)
        left = self.counts.get(source, 0) - 1
        if left > 0:
            self.counts[source] = left
        else:
            self.counts.pop(source, None)
