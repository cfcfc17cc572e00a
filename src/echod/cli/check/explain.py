"""`check --explain ADDR`: which rule decides about a client from there, what is used of its limits, and the verdict."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import TYPE_CHECKING

from echod.common.config.networks import write_network
from echod.common.config.rules import ALLOW, DENY, Rules
from echod.common.errors import USAGE, EchodError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echod.cli.check.plan import Plan
    from echod.common.config.rules import Packed
    from echod.common.config.settings import Config

    Peer = ipaddress.IPv4Address | ipaddress.IPv6Address

SOURCE_PREFIX = 64  # of an IPv6 source


def lines(plan: Plan, text: str) -> Iterator[str]:
    """Yield what happens to a client from an address. Raises EchodError, USAGE, for what is none."""
    config, peer = plan.config, parse_peer(text)
    clients = plan.state.get("clients", 0)
    running = "" if plan.state else "; the daemon is not running"
    yield f"peer     {peer}"
    proxy = Rules(config).proxy(packed(peer))
    if proxy:
        yield f"proxy    {write_network(proxy)}: begins with a PROXY header (proxy_from, {plan.origin('proxy_from')})"
    yield f"rule     {rule(plan, peer)}"
    yield f"clients  {clients} of {config.max_children} (max_children, {plan.origin('max_children')}){running}"
    same = sum(source(parse_peer(text)) == source(peer) for text in peers(plan))
    limit = f"(max_children_per_source, {plan.origin('max_children_per_source')})"
    if proxy or not config.max_children_per_source:
        yield f"source   {'not counted, behind a proxy' if proxy else f'no limit {limit}'}"
    else:
        count = f"{'at most ' if config.proxy_from else ''}{same}"  # some of these may be behind a proxy
        yield f"source   {count} of {config.max_children_per_source} from {source(peer)[0]} {limit}{running}"
    yield f"verdict  {verdict(config, peer, clients, same)}"


def peers(plan: Plan) -> Iterator[str]:
    """Yield the addresses of the clients there are; a slot may have another text, of a child that has crashed."""
    for child in plan.state.get("children", ()):
        with contextlib.suppress(EchodError):
            parse_peer(child["peer"])
            yield child["peer"]


def parse_peer(text: str) -> Peer:
    """Read an address, or one with a port; IPv4-mapped ones are the IPv4 addresses they are. Raises EchodError."""
    host = text.rpartition(":")[0] if "]:" in text or text.count(":") == 1 else text
    try:
        peer = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        allowed = "192.0.2.7, 2001:db8::7 or fe80::7%eth0"
        raise EchodError(f"--explain: '{text}' is no numeric address; allowed: such as {allowed}", USAGE) from None
    return getattr(peer, "ipv4_mapped", None) or peer


def packed(peer: Peer) -> Packed:
    """Return an address as the rules take it."""
    return peer.max_prefixlen, int(peer), 0


def rule(plan: Plan, peer: Peer) -> str:
    """Return the rule that decides, in words."""
    word, network = Rules(plan.config).decide(packed(peer))
    if network:
        return f"{word} {write_network(network)} ({plan.origin(word)})"
    if word == DENY:
        return f"none matches, and only those of allow may connect ({plan.origin(ALLOW)})"
    return "none matches, and there is no allow"


def source(peer: Peer) -> tuple[str, int]:
    """Return what a client is counted under: its address, or its /64, on a link of its own where it is link-local."""
    if isinstance(peer, ipaddress.IPv4Address):
        return str(peer), 0
    network = ipaddress.IPv6Network((int(peer), SOURCE_PREFIX), strict=False)
    scope = 0
    if peer.scope_id:
        try:
            scope = socket.if_nametoindex(peer.scope_id)
        except OSError:
            scope = int(peer.scope_id) if peer.scope_id.isdigit() else -1
    return str(network), scope


def verdict(config: Config, peer: Peer, clients: int, same: int) -> str:
    """Return what happens to a client, when there are so many, `same` of them from its source."""
    rules = Rules(config)
    if rules.proxy(packed(peer)):
        rest = "admitted" if rules.is_allowed(packed(peer)) else "refused: access"
        return f"as for the client that the header names; {rest}, where it names none (UNKNOWN, LOCAL)"
    if not rules.is_allowed(packed(peer)):
        return "refused: access"
    if 0 < config.max_children_per_source <= same:
        return "refused: per_source"
    if clients < config.max_children:
        return "admitted"
    return "refused: over_limit" if config.over_limit == "refuse" else "waits in the backlog until a client is gone"
