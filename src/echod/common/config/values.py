"""The kinds of value a setting can have: how each is read, how it is written, and what is allowed.

A kind raises ValueError with a few words when it cannot read a text; `config` adds file, line and key.
Addresses are `(host, port)`; networks `(32 or 128 bits, the number, prefix length)`; durations seconds, None for never.
"""

from __future__ import annotations

from echod.common.cmodules import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

Address = tuple[str, int]
Network = tuple[int, int, int]

UNITS = (("ms", 0.001), ("s", 1.0), ("min", 60.0), ("h", 3600.0))
LONGEST = 365 * 24 * 3600.0
MAPPED = 0xFFFF << 32  # ::ffff:0:0/96, IPv4 addresses as IPv6 sockets show them (RFC 4291, 2.5.5.2)


class Kind:
    """How the values of one kind are read from text and written back."""

    __slots__ = ("allowed", "parse", "write")

    def __init__(self, allowed: str, parse: Callable[[str], Any], write: Callable[[Any], str] = str) -> None:
        self.allowed = allowed
        self.parse = parse
        self.write = write


def split_list(text: str) -> list[str]:
    """Split a list at commas and blanks; empty items fall out."""
    return text.replace(",", " ").split()


def integer(low: int, high: int) -> Kind:
    """Whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 10 and low <= int(text) <= high):
            raise ValueError("is not such a number")
        return int(text)

    return Kind(f"a whole number from {low} to {high}", parse)


def choice(*words: str) -> Kind:
    """One of a few words."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError("is none of them")
        return text

    return Kind(" or ".join((", ".join(words[:-1]), words[-1])), parse)


def parse_bool(text: str) -> bool:
    """Read yes or no."""
    if text not in ("yes", "true", "on", "no", "false", "off"):
        raise ValueError("is neither")
    return text in ("yes", "true", "on")


def duration(least: float, *, never: bool = True) -> Kind:
    """Durations of at least `least` seconds, and `never` where that makes sense."""

    def parse(text: str) -> float | None:
        if never and text == "never":
            return None
        number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
        unit = dict(UNITS).get(text[len(number) :].strip())
        if unit is None or not number.strip().replace(".", "", 1).isdigit() or not number.isascii():
            raise ValueError("is not a duration")
        seconds = round(float(number) * unit, 3)  # whole milliseconds, as they are written
        if not least <= seconds <= LONGEST:
            raise ValueError("is too long" if seconds > LONGEST else "is too short")
        return seconds

    allowed = "a number with a unit, such as 250ms, 30s, 10min or 1h" + (", or never" if never else "")
    return Kind(allowed + (f"; at least {write_duration(least)}" if least else ""), parse, write_duration)


def write_duration(seconds: float | None) -> str:
    """Write a duration in the largest unit that holds it whole."""
    if seconds is None:
        return "never"
    milliseconds = round(seconds * 1000)
    for unit, size in reversed(UNITS):
        if milliseconds and milliseconds % round(size * 1000) == 0:
            return f"{milliseconds // round(size * 1000)}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def parse_umask(text: str) -> int:
    """Read an octal mask of permission bits."""
    if 1 <= len(text) <= 4 and not text.strip("01234567") and int(text, 8) <= 0o777:
        return int(text, 8)
    raise ValueError("is not an octal mask")


def parse_name(text: str) -> str:
    """Read a user's or group's name or number; whether it exists is for the launcher to look up."""
    if not text or any(c.isspace() or c in ":/," for c in text):
        raise ValueError("is not a name")
    return text


def parse_address(text: str) -> Address:
    """Read `*:PORT`, `HOST:PORT` or `[V6]:PORT`."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ValueError("has no port from 0 to 65535")
    if not (host.isascii() and host.isprintable()):
        raise ValueError("is not a host")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            bits, _ = pack_host(host)
        except (OSError, ValueError):
            bits = 0
        if bits != 128:  # IPv4-mapped ones are bound as the IPv4 addresses they are
            raise ValueError("is not an IPv6 address")
    elif ":" in host:
        raise ValueError("is an IPv6 address without its brackets")
    elif host != "*" and host.strip("*[]%/\\'\"") != host:
        raise ValueError("is not a host")
    return host, int(port)


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


def parse_network(text: str) -> Network:
    """Read an address or a network in CIDR notation (RFC 4632)."""
    host, slash, length = text.partition("/")
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


def many(item: Callable[[str], Any], write: Callable[[Any], str], allowed: str, least: int = 0) -> Kind:
    """Make the kind of lists of `item`, at least `least` of them, none twice."""

    def parse(text: str) -> tuple[Any, ...]:
        found = []
        for word in split_list(text):
            try:
                found.append(item(word))
            except ValueError as error:
                raise ValueError(f"has '{word}', which {error}") from None
        if len(found) < least:
            raise ValueError("is empty")
        if len(set(found)) < len(found):
            raise ValueError("names one of them twice")
        return tuple(found)

    return Kind(allowed, parse, lambda values: ", ".join(map(write, values)))
