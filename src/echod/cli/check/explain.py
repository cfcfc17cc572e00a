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

    from echod.cli.check.subject import Subject
    from echod.common.config.rules import Packed
    from echod.common.config.settings import Config

    Peer = ipaddress.IPv4Address | ipaddress.IPv6Address

SOURCE_PREFIX = 64  # of an IPv6 source


def lines(subject: Subject, text: str) -> Iterator[str]:
    """Yield what happens to a client from an address. Raises EchodError, USAGE, if the text is not an address."""
    config, peer = subject.config, parse_peer(text)
    clients, most = subject.state.get("clients", 0), subject.state.get("max_children", config.max_children)
    yield f"daemon   {subject.name}"
    yield f"peer     {peer}"
    proxy = Rules(config).proxy(packed(peer))
    if proxy:
        where = f"(proxy_from, {subject.origin('proxy_from')})"
        yield f"proxy    {write_network(proxy)}: begins with a PROXY header {where}"
    yield f"rule     {rule(subject, peer)}"
    later = "" if most == config.max_children else f"; {config.max_children} after a reload"
    yield f"clients  {clients} of {most} (max_children, {subject.origin('max_children')}{later})"
    same = sum(source(parse_peer(text)) == source(peer) for text in peers(subject))
    limit = f"(max_children_per_source, {subject.origin('max_children_per_source')})"
    if proxy or not config.max_children_per_source:
        yield f"source   {'not counted, behind a proxy' if proxy else f'no limit {limit}'}"
    else:
        count = f"{'at most ' if config.proxy_from else ''}{same}"  # some of these may be behind a proxy
        yield f"source   {count} of {config.max_children_per_source} from {source(peer)[0]} {limit}"
    yield f"verdict  {verdict(config, peer, clients, same, most)}"


def peers(subject: Subject) -> Iterator[str]:
    """Yield the addresses of the current clients; the slot of a child that has crashed may hold another text."""
    for child in subject.state.get("children", ()):
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
        raise EchodError(
            f"--explain: '{text}' is not a numeric address; allowed: an address such as {allowed}", USAGE
        ) from None
    return getattr(peer, "ipv4_mapped", None) or peer


def packed(peer: Peer) -> Packed:
    """Return an address as the rules take it."""
    return peer.max_prefixlen, int(peer), 0


def rule(subject: Subject, peer: Peer) -> str:
    """Return the rule that decides, in words."""
    word, network = Rules(subject.config).decide(packed(peer))
    if network:
        return f"{word} {write_network(network)} ({subject.origin(word)})"
    if word == DENY:
        return f"none matches, and allow is set ({subject.origin(ALLOW)})"
    return "none matches, and allow is not set"


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


def verdict(config: Config, peer: Peer, clients: int, same: int, most: int) -> str:
    """Return what happens to a client while the daemon has `clients` of `most`, `same` of them from its source."""
    rules = Rules(config)
    if rules.proxy(packed(peer)):
        rest = "admitted" if rules.is_allowed(packed(peer)) else "refused: access"
        return f"decided for the client that the header names; {rest} if it names none (UNKNOWN, LOCAL)"
    if not rules.is_allowed(packed(peer)):
        return "refused: access"
    if 0 < config.max_children_per_source <= same:
        return "refused: per_source"
    if clients < most:
        return "admitted"
    return (
        "refused: over_limit"
        if config.over_limit == "refuse"
        else "waits in the accept queue until another client has disconnected"
    )
