"""From a name to a connected socket."""

from __future__ import annotations

import socket
import struct
from contextlib import ExitStack
from dataclasses import dataclass

from echod.echoc import proxy
from echod.echoc.faults import ConnectError

PORT = 27978
TICKS = 10


@dataclass(frozen=True)
class Target:
    """A server, and how to reach it.

    `timeout` (seconds, above 0) is how long one address may take to accept, and how long a server that owes us bytes
    or a close may stay silent. `family` is AF_INET, AF_INET6, or AF_UNSPEC for both. `source` is the local address
    to connect from. With `send_proxy` each connection begins with a PROXY v2 header.
    """

    host: str
    port: int = PORT
    timeout: float = 10.0
    family: int = socket.AF_UNSPEC
    source: str | None = None
    send_proxy: bool = False

    def __str__(self) -> str:
        return f"{self.host} port {self.port}"


def connect(target: Target) -> socket.socket:
    """Connect to the first of the target's addresses that accepts.

    The socket blocks, but a receive that gets nothing fails with BlockingIOError TICKS times in `target.timeout`, so
    that the receiver can look around. The limit is the kernel's: Python's own would make the socket non-blocking for
    a forked sender too.
    ConnectError: the name does not resolve, or no address accepts; the message tells why of each.
    """
    family, local = target.family, None
    if target.source is not None:
        family, *_, local = _resolve(target.source, 0, family)[0]
    failures = []
    for family_, type_, protocol, _, address in _resolve(target.host, target.port, family):
        with ExitStack() as unless_connected:
            try:
                sock = unless_connected.enter_context(socket.socket(family_, type_, protocol))
                _open(sock, target, local, address)
            except OSError as error:
                failures.append(f"{address[0]}: {_reason(error, target.timeout)}")
            else:
                unless_connected.pop_all()
                return sock
    raise ConnectError(f"{target}: {'; '.join(failures)}")


def _resolve(host: str, port: int, family: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
    try:
        return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)  # type: ignore[return-value]
    except (socket.gaierror, UnicodeError) as error:  # UnicodeError: a label that IDNA can't have
        raise ConnectError(f"{host}: {getattr(error, 'strerror', None) or 'not a valid name'}") from None


def _open(sock: socket.socket, target: Target, local: tuple[str, int] | None, address: tuple[str, int]) -> None:
    if local is not None:
        try:
            sock.bind(local)
        except OSError as error:
            raise ConnectError(f"{target.source}: not to be connected from: {error.strerror}") from None
    sock.settimeout(target.timeout)
    sock.connect(address)
    sock.settimeout(None)
    seconds, fraction = divmod(target.timeout / TICKS, 1)
    tick = struct.pack("@ll", int(seconds), max(1, int(fraction * 1e6)))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, tick)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if target.send_proxy:
        sock.sendall(proxy.header_for(sock))


def _reason(error: OSError, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "refused: nothing listens there"
    return error.strerror or str(error)
