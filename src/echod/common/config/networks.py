"""Networks: `(32 or 128 bits, the number, prefix length)`."""

from __future__ import annotations

from echod.common.cmodules import socket
from echod.common.config.addresses import pack_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

Network = tuple[int, int, int]


def parse_network(text: str) -> Network:
    """Read an address or a network in CIDR notation (RFC 4632)."""
    host, slash, length = text.partition("/")
    if "%" in host:
        raise ValueError("names an interface, which a network does not")
    try:
        bits, number = pack_host(host)
    except (OSError, ValueError):
        raise ValueError("is not a numeric address or network") from None
    written = 128 if ":" in host else 32
    if slash and not (length.isascii() and length.isdigit() and len(length) <= 3 and int(length) <= written):
        raise ValueError(f"has no prefix length from 0 to {written}")
    prefix = int(length) - (written - bits) if slash else bits
    if prefix < 0:
        raise ValueError("is wider than the IPv4-mapped addresses; write the IPv4 network")
    masked = number >> (bits - prefix) << (bits - prefix)
    if masked != number:
        raise ValueError(f"has host bits set; the network is {write_network((bits, masked, prefix))}")
    return bits, number, prefix


def write_network(network: Network) -> str:
    """Write a network in CIDR notation."""
    bits, number, prefix = network
    host = socket.inet_ntop(socket.AF_INET if bits == 32 else socket.AF_INET6, number.to_bytes(bits // 8, "big"))
    return host if prefix == bits else f"{host}/{prefix}"


class NetworkTable:
    """Networks, searched by prefix length: one look-up for each length that occurs, however many networks there are."""

    __slots__ = ("_tables",)

    def __init__(self, networks: Iterable[Network]) -> None:
        tables: dict[tuple[int, int], dict[int, Network]] = {}
        for network in networks:
            bits, number, prefix = network
            tables.setdefault((bits, prefix), {})[number >> (bits - prefix)] = network
        self._tables: dict[int, list[tuple[int, dict[int, Network]]]] = {}  # by bits, the longest prefix first
        for (bits, prefix), table in sorted(tables.items(), reverse=True):
            self._tables.setdefault(bits, []).append((bits - prefix, table))

    def __bool__(self) -> bool:
        return bool(self._tables)

    def find(self, bits: int, number: int) -> Network | None:
        """Return the most specific network that contains an address, in the form of `pack_host`, or None."""
        for shift, table in self._tables.get(bits, ()):
            if found := table.get(number >> shift):
                return found
        return None
