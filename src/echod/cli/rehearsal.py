"""The binds of a start, rehearsed while a daemon runs: the sockets are bound, and none listens.

The code is that of a start (`sockets.bind_all`), with another way to open a socket. A bind that only the running
daemon's own listeners prevent counts as done, since they are closed before the start. The kernel's tables show whether
another process prevents it, too: each of its sockets there is either compatible or probed.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import TYPE_CHECKING, NamedTuple

from echod.cli import proc
from echod.common.config.addresses import write_address
from echod.common.sockets import ANY_HOSTS, Listener, bind_socket

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from echod.common.config.addresses import Address
    from echod.common.config.settings import Config
    from echod.common.sockets import Place

MAPPED = "::ffff:"  # an IPv4 address in the table of IPv6


class Socket(NamedTuple):
    """A TCP socket in the kernel's tables; `target` is that of its descriptors."""

    host: str
    port: int
    remote: tuple[str, int]
    listens: bool
    target: str
    family: socket.AddressFamily


def tcp_sockets() -> Iterator[Socket]:
    """Yield the TCP sockets of this network namespace; none if the tables cannot be read."""
    for table, family in proc.TABLES:
        with contextlib.suppress(OSError):
            for words in proc.rows(proc.SELF, table):
                local, remote = proc.address(words[1], family), proc.address(words[2], family)
                yield Socket(*local, remote, words[3] == proc.LISTEN, f"socket:[{words[9]}]", family)


class PlaceError(OSError):
    """The error of one socket; `place` is where it would be bound."""

    place: Place


class Bound(Listener):
    """A socket that a start would open: bound, or left unbound because the running daemon still listens there."""

    __slots__ = ("_place",)

    def __init__(self, sock: socket.socket, address: Address, place: Place) -> None:
        super().__init__(sock, address)
        self._place = place

    @property
    def place(self) -> Place:
        """The family, and the address that it will be bound to."""
        return self._place


class Rehearsal:
    """Open sockets for `sockets.bind_all`, next to the daemon `pid`, or 0. Raises OSError where a start would fail.

    `names` are the addresses that the daemon listens on, for when its descriptors are another user's to see.
    """

    def __init__(self, pid: int = 0, names: Iterable[str] = ()) -> None:
        self._pid = pid
        self._names = set(names)
        self._own: list[Socket] | None = None
        self._all: list[Socket] = []

    def __call__(self, family: int, where: Any, address: Address, _config: Config) -> Listener:
        """Open one socket. Raises OSError."""
        try:
            sock = bind_socket(family, where)
            return Bound(sock, address, (family, sock.getsockname()))
        except OSError as error:
            if error.errno == errno.EADDRINUSE and not self._is_taken(family, where):
                return Bound(socket.socket(family, socket.SOCK_STREAM), address, (family, where))
            failed = PlaceError(error.errno, error.strerror)
            failed.place = family, where
            raise failed from None

    def _is_taken(self, family: int, where: Any) -> bool:
        """Return True if another process prevents this bind.

        A socket that overlaps with one of the daemon's lives next to it, so it will live next to the new one, which has
        the same options. Any other is probed at its own address, where the daemon has none.
        """
        if self._own is None:
            self._all = list(tcp_sockets())
            self._own = self._daemons()
        port = where[1]
        own = {one.host for one in self._own if one.port == port and one.family == family}  # its [::] is IPv6 alone
        others = {host_in(family, one): one for one in self._all if one.port == port and one not in self._own}
        for host, one in others.items():
            if overlap(host, where[0]) and not any(overlap(host, mine) for mine in own) and self._prevents(family, one):
                return True
        return not any(overlap(mine, where[0]) for mine in own)

    def _daemons(self) -> list[Socket]:
        """Return the sockets on which the daemon listens."""
        try:
            held = {target for _, target in proc.descriptors(self._pid)} if self._pid else set()
        except OSError:
            held = set()
        return [
            one
            for one in self._all
            if one.listens and (one.target in held or (not held and write_address((one.host, one.port)) in self._names))
        ]

    @staticmethod
    def _prevents(family: int, one: Socket) -> bool:
        """Return True if no socket can be bound where another one is."""
        try:
            bind_socket(family, (host_in(family, one), one.port)).close()
        except OSError as error:
            return one.listens or error.errno == errno.EADDRINUSE
        return False


def host_in(family: int, one: Socket) -> str:
    """Return the host of a socket as sockets of a family may overlap with it; "" if they cannot."""
    if family == one.family:
        return "" if one.host.startswith(MAPPED) else one.host
    if family == socket.AF_INET and one.host in ANY_HOSTS:  # unless it is for IPv6 alone, which the table does not say
        return ANY_HOSTS[0]
    return one.host.removeprefix(MAPPED) if one.host.startswith(MAPPED) and family == socket.AF_INET else ""


def overlap(first: str, second: str) -> bool:
    """Return True if two hosts overlap: they are the same, or one of them is any. An interface is not compared."""
    first, second = first.partition("%")[0], second.partition("%")[0]
    return bool(first and second) and (first == second or first in ANY_HOSTS or second in ANY_HOSTS)
