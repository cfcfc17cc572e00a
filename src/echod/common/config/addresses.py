"""Addresses, `(host, port)`: as they stand in a config, and as the kernel gives them."""

from __future__ import annotations

from echod.common.cmodules import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Address = tuple[str, int]
MAPPED = 0xFFFF << 32  # ::ffff:0:0/96, IPv4 addresses as IPv6 sockets show them (RFC 4291, 2.5.5.2)
LONGEST_LABEL = 63  # characters (RFC 1035, 2.3.4)
LINK_LOCAL = 0xFE80 >> 6  # fe80::/10, their first ten bits (RFC 4291, 2.5.6)


def parse_address(text: str) -> Address:
    """Read `*:PORT`, `:PORT`, `PORT`, `HOST:PORT`, `[V6]:PORT` or `[V6%IFACE]:PORT`; the first three are the same."""
    host, _, port = text.rpartition(":")
    host = host or "*"
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ValueError("has no port from 0 to 65535")
    if not (host.isascii() and host.isprintable()):
        raise ValueError("is not a host")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        number, percent, interface = host.partition("%")
        try:
            bits, value = pack_host(number)
        except (OSError, ValueError):
            bits = value = 0
        if bits != 128:  # IPv4-mapped ones are bound as the IPv4 addresses they are
            raise ValueError("is not an IPv6 address")
        if not interface and (percent or value >> 118 == LINK_LOCAL):
            raise ValueError("has no interface, such as [fe80::1%eth0]:7")
    elif ":" in host:
        raise ValueError("is an IPv6 address without its brackets")
    elif host != "*" and host.strip("*[]%/\\'\"") != host:
        raise ValueError("is not a host")
    elif not all(0 < len(label) <= LONGEST_LABEL for label in host.removesuffix(".").split(".")):
        raise ValueError("is not a host name: its parts have 1 to 63 characters")
    return host, int(port)


def refuse_overlap(addresses: tuple[Address, ...]) -> None:
    """Raise ValueError if an address stands for others of the list, too, as `*:7` does for `127.0.0.1:7`."""
    for wide in addresses:
        for other in addresses:
            if wide != other and wide[1] == other[1] != 0 and covers(wide[0], other[0]):
                raise ValueError(f"has '{write_address(other)}', which overlaps with '{write_address(wide)}'")


def covers(wide: str, host: str) -> bool:
    """Return True if a host stands for all addresses of a family that the other one is of."""
    if wide == "*":
        return True
    is_ipv4 = not host.strip("0123456789.")
    return (wide == "0.0.0.0" and is_ipv4) or (wide == "::" and ":" in host)  # noqa: S104 - to compare with


def write_address(address: tuple[Any, ...]) -> str:
    """Write an address, of accept(2) or as it is read; IPv4-mapped ones as the IPv4 addresses they are."""
    host, port = address[0], address[1]
    if ":" not in host:
        return f"{host}:{port}"
    if host.startswith("::ffff:") and "." in host:
        return f"{host[7:]}:{port}"
    if address[3:] and address[3]:
        try:
            host += f"%{socket.if_indextoname(address[3])}"
        except OSError:
            host += f"%{address[3]}"  # the interface has gone
    return f"[{host}]:{port}"


def pack_host(host: str) -> tuple[int, int]:
    """Turn a numeric address into `(bits, number)`; an IPv4-mapped one is the IPv4 address it carries."""
    if ":" not in host:
        return 32, int.from_bytes(socket.inet_pton(socket.AF_INET, host), "big")
    number = int.from_bytes(socket.inet_pton(socket.AF_INET6, host.partition("%")[0]), "big")
    return (32, number & 0xFFFFFFFF) if number & ~0xFFFFFFFF == MAPPED else (128, number)
