"""Where to connect to, as people write it: HOST, HOST:PORT, [V6], [V6]:PORT."""

from __future__ import annotations

import socket


def destination(text: str) -> tuple[str, str]:
    """Return the host and the port, which is empty where there is none. ValueError: the text is no destination.

    An IPv6 address has its brackets where a port follows it.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest[1:]) or rest[:1] not in ("", ":"):
            raise ValueError(f"{text!r} is not [V6] or [V6]:PORT")
        return host, rest[1:]
    host, colon, number = text.partition(":")
    if ":" in number:  # an IPv6 address as it is
        return text, ""
    if not host or (colon and not number):
        raise ValueError(f"{text!r} is not HOST or HOST:PORT")
    return host, number


def port(text: str) -> int:
    """Return a port's number, given that or a service's name. ValueError: it is neither."""
    try:
        number = int(text) if text.isascii() and text.isdecimal() else socket.getservbyname(text, "tcp")
    except OSError:
        number = 0
    if not 0 < number < 1 << 16:
        raise ValueError(f"{text!r} is neither a port (1 to 65535) nor a service")
    return number
