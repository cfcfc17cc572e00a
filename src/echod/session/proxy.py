"""The PROXY protocol, versions 1 and 2: a header in which a load balancer names its client (proxy-protocol.txt).

The child reads it, byte for byte as far as it goes and no further: what is behind it is the client's. It writes the
name into its slot of the scoreboard, where the daemon finds it, and sees to `allow` and `deny`.
"""

from __future__ import annotations

import errno
import select
import time

from echod.common.cmodules import os, socket
from echod.common.config.addresses import write_address
from echod.common.config.kinds import integer
from echod.common.config.rules import Rules, pack_peer
from echod.common.reasons import ACCESS, ERRNO, PROXY, RESET
from echod.common.scoreboard import BEGUN, LAST
from echod.session.session import DRAIN_QUIET_S, LOOK_S, Limits, Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from echod.common.config.settings import Config
    from echod.session.session import Counters

    Client = tuple[Any, ...] | None  # an address as accept(2) gives it; None: the header names none

TIMEOUT = 5.0  # seconds for the whole header
PORT = integer(0, 65535)
WORD, LONGEST_LINE = b"PROXY ", 107  # version 1
SIGNATURE, HEAD, LARGEST = b"\r\n\r\n\0\r\nQUIT\n", 16, 16 + 0xFFFF  # version 2
LOCAL, COMMANDS = 0x20, (0x20, 0x21)
ROOM = {0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}  # families: bytes of both addresses
FAMILIES = {1: (socket.AF_INET, 4), 2: (socket.AF_INET6, 16)}


def length(data: bytes) -> int:
    """Return how long the header is that begins with `data`, or the most it can be. Raises ValueError: it is none."""
    if data[:1] == SIGNATURE[:1]:
        if not SIGNATURE.startswith(data[: len(SIGNATURE)]):
            raise ValueError("bad signature")
        return HEAD + int.from_bytes(data[14:HEAD], "big") if len(data) >= HEAD else HEAD
    end = data.find(b"\n", 0, LONGEST_LINE) + 1
    if not WORD.startswith(data[: len(WORD)]) or (len(data) >= LONGEST_LINE and not end):
        raise ValueError("bad line")
    return end or LONGEST_LINE


def parse(header: bytes) -> Client:
    """Return the client that a whole header names. Raises ValueError."""
    return parse_line(header) if header.startswith(WORD) else parse_binary(header)


def parse_line(header: bytes) -> Client:
    """Read version 1: `PROXY TCP4 192.0.2.7 192.0.2.1 51514 7`, CR and LF. Raises ValueError.

    The protocol is that of the client. The destination may be an address of the other family: nginx names the address
    that it has connected to, for example 127.0.0.1 for a client that came by IPv6.
    """
    text = header.decode("latin-1")
    words = text[:-2].split(" ")
    if not text.endswith("\r\n"):
        raise ValueError("bad end")
    if words[1] == "UNKNOWN":  # whatever follows
        return None
    _, protocol, source, target, port, target_port = words
    family = {"TCP4": socket.AF_INET, "TCP6": socket.AF_INET6}.get(protocol)
    if family is None:
        raise ValueError("bad protocol")
    PORT.parse(target_port)
    pack(socket.AF_INET6 if ":" in target else socket.AF_INET, target)
    return socket.inet_ntop(family, pack(family, source)), PORT.parse(port)


def pack(family: int, host: str) -> bytes:
    """Return the bytes of an address. Raises ValueError."""
    try:
        return socket.inet_pton(family, host)
    except OSError:
        raise ValueError("bad address") from None


def parse_binary(header: bytes) -> Client:
    """Read version 2; what follows the addresses, TLVs, is skipped. Raises ValueError."""
    command, kind = header[12:14]
    if command not in COMMANDS:
        raise ValueError("bad command")
    if command == LOCAL:
        return None
    if kind not in ROOM or len(header) < HEAD + ROOM[kind]:
        raise ValueError("bad family")
    if kind >> 4 not in FAMILIES:  # none, or a Unix socket
        return None
    family, size = FAMILIES[kind >> 4]
    port = HEAD + 2 * size
    return socket.inet_ntop(family, header[HEAD : HEAD + size]), int.from_bytes(header[port : port + 2], "big")


def peer_of(conn: socket.socket) -> tuple[Any, ...]:
    """Return the address of the other end of a connection, in the format of accept(2). Raises OSError."""
    address: tuple[Any, ...] = conn.getpeername()
    return address


class Proxied(Session):
    """A session that begins with such a header where it is with a load balancer, one of `proxy_from`."""

    __slots__ = ("_name", "_rules")

    def __init__(self, limits: Limits, config: Config, name: Callable[[int, str], None]) -> None:
        """Take the rules from `config`; `name` is called with the session's slot and the client's address as text."""
        super().__init__(limits)
        self._rules, self._name = Rules(config), name

    def run(self, fd: int, counters: Counters, at: int) -> int:
        """Read the header, then echo; returns the reason of the end."""
        try:
            conn = socket.socket(fileno=fd)
            try:
                reason = self._begin_proxied(conn, counters, at)
            finally:
                conn.detach()
        except ValueError:
            return PROXY
        except OSError as error:  # a peer that was reset before has no name any more
            is_reset = isinstance(error, ConnectionError) or error.errno == errno.ENOTCONN
            return RESET if is_reset else ERRNO + (error.errno or 0)
        return reason or super().run(fd, counters, at)

    def _begin_proxied(self, conn: socket.socket, counters: Counters, at: int) -> int:
        """Find out who the client is, and whether it is admitted; returns why not, or 0. Raises ValueError, OSError."""
        peer = peer_of(conn)
        if not self._rules.proxy(pack_peer(peer)):
            return 0
        self.fd = conn.fileno()
        counters[at + BEGUN] = counters[at + LAST] = time.monotonic_ns()
        self._begin()
        self._lifetime = None  # its timer runs: `run` must not set it anew
        header = self._receive(conn)
        if not header:
            return self.ended
        client = parse(header)
        if client:
            self._name(at, write_address(client))
        return 0 if self._rules.is_allowed(pack_peer(client or peer)) else ACCESS

    def _receive(self, conn: socket.socket) -> bytes:
        """Return the header; nothing when the session was ended before it was whole. Raises ValueError, OSError."""
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        data, until = b"", time.monotonic() + TIMEOUT
        while len(data) < length(data):
            left = until - time.monotonic()
            if left <= 0:
                raise ValueError("late")
            if poller.poll(min(left, DRAIN_QUIET_S if self.ended else LOOK_S) * 1000):
                seen = data + conn.recv(LARGEST, socket.MSG_PEEK)
                if len(seen) == len(data):
                    raise ValueError("closed")
                data += os.read(self.fd, min(length(seen), len(seen)) - len(data))
            elif self.ended:
                return b""
        return data
