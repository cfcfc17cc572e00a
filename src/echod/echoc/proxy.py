"""The PROXY protocol, version 2: a header that names the client to the server (HAProxy's proxy-protocol.txt)."""

from __future__ import annotations

import socket
import struct

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
VERSION_2_PROXY = 0x21
STREAM = {socket.AF_INET: 0x11, socket.AF_INET6: 0x21}


def header(family: int, source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    """Return the header for a TCP connection from `source` to `destination`, each (numeric address, port).

    `family` is AF_INET or AF_INET6. OSError: an address is not one of that family.
    """
    addresses = b"".join(socket.inet_pton(family, host.partition("%")[0]) for host, _ in (source, destination))
    body = addresses + struct.pack("!HH", source[1], destination[1])
    return SIGNATURE + struct.pack("!BBH", VERSION_2_PROXY, STREAM[socket.AddressFamily(family)], len(body)) + body
