"""Which clients are admitted: `allow`, `deny` and the limit for each source; and what is recorded of a refused one.

A source is an IPv4 address, or the /64 that an IPv6 host usually has to itself (RFC 6177). The link-local addresses of
one interface are one source.
"""

from __future__ import annotations

from echod.common.config.addresses import write_address
from echod.common.config.rules import Rules, pack_peer
from echod.common.reasons import EOF, NOT_ALLOWED, PER_SOURCE, REASONS
from echod.common.scoreboard import ACCEPTED, CLOSED
from echod.log.log import INFO, describe
from echod.log.rates import source_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from echod.common.config.rules import Packed
    from echod.common.config.settings import Config
    from echod.log.log import Log
    from echod.server.board import Board

    PeerAddress = tuple[Any, ...]  # in the format of accept(2)

Source = tuple[int, int, int]
IPV4_BITS = 32
HOST_BITS = 64  # of an IPv6 address


class Admission:
    """The rules in effect. It is `open` if there are none. `counts` are kept only if there is a limit."""

    __slots__ = ("_has_banner", "_rules", "counts", "limit", "open")

    def __init__(self, config: Config, addresses: Iterable[PeerAddress] = ()) -> None:
        """Take the rules of `config`; `addresses` are those of the current clients."""
        self._rules, self._has_banner = Rules(config), bool(config.banner)
        self.limit = config.max_children_per_source
        self.open = self._rules.are_none and not self.limit
        self.counts: dict[Source, int] = {}
        if self.limit:
            for address in addresses:
                self.enter(pack_peer(address))

    def refusal(self, peer: Packed) -> str:
        """Return why a client is refused, or "". The child of a load balancer's client decides about that client."""
        if self._rules.proxy(peer):
            return ""
        if not self._rules.is_allowed(peer):
            return NOT_ALLOWED
        if self.limit and self.counts.get(source(peer), 0) >= self.limit:
            return PER_SOURCE
        return ""

    def greets(self, peer: Packed) -> bool:
        """Return True if something is expected of a client even if it has closed, or is sent to it: a child decides."""
        return self._has_banner or self._rules.proxy(peer) is not None

    def enter(self, peer: Packed) -> None:
        """Count a client by its source, unless it is a load balancer."""
        if not self._rules.proxy(peer):
            self.counts[source(peer)] = self.counts.get(source(peer), 0) + 1

    def leave(self, peer: Packed) -> None:
        """Count a client out. It may be unknown: clients that came before there was a limit were not counted."""
        if self._rules.proxy(peer):
            return
        left = self.counts.get(source(peer), 0) - 1
        if left > 0:
            self.counts[source(peer)] = left
        else:
            self.counts.pop(source(peer), None)


def source(peer: Packed) -> Source:
    """Return the key under which a client is counted."""
    bits, number, interface = peer
    return (bits, number, 0) if bits == IPV4_BITS else (bits, number >> HOST_BITS, interface)


def refuse(board: Board, log: Log, address: PeerAddress, why: str) -> None:
    """Count and log a client whose connection the caller closes unserved; `why` is one of reasons.REFUSALS."""
    peer = write_address(address)
    board.begin()
    board.count_refusal(why, peer)
    board.end()
    log.limited(INFO, why, source_of(peer), f"refuse peer={peer} reason={why}")


def count_out(board: Board, log: Log, address: PeerAddress, reason: str) -> None:
    """Count and log a client that had ended before there was a child for it. The log names child 0."""
    peer = write_address(address)
    board.begin()
    board.words[ACCEPTED] += 1
    board.words[CLOSED] += 1
    if reason != REASONS[EOF]:
        board.count_end(reason, peer)
    board.end()
    if line := describe(log, peer, 0, reason, (0, 0, 0.0)):
        log.info(line)
