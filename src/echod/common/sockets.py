"""Listening sockets: bind them or adopt those that were passed, accept from them. Here accept's errors are classified.

What accepted sockets inherit on Linux is set once, on the listener: TCP_NODELAY, keep-alive and the time limits cost a
client no system call.
"""

from __future__ import annotations

import errno

from echod.common.bind_errors import BindError, unresolved
from echod.common.cmodules import os, socket
from echod.common.config.addresses import write_address
from echod.common.errors import ConfigError
from echod.common.socket_options import set_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from echod.common.config.addresses import Address
    from echod.common.config.settings import Config

    Accept = Callable[[], tuple[int, tuple[Any, ...]]]  # gives a connected descriptor and its peer
    Warn = Callable[[str], None]
    Place = tuple[int, tuple[Any, ...]]  # a family, and an address as bind(2) takes it
    Opener = Callable[[int, Any, Address, Config], "Listener"]
SD_LISTEN_FDS_START = 3  # sd_listen_fds(3)
IPPROTO_MPTCP = 262  # linux/mptcp.h
LACKS = errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT  # of bind(2) and socket(2): the machine does not have this address
ANY_HOSTS = ("0.0.0.0", "::")  # noqa: S104 - to compare with
SO_BINDTOIFINDEX, NO_INTERFACE = 62, 0x7FFFFFFF  # asm-generic/socket.h; no machine has so many
# UNP 5.11, accept(2): Linux passes network errors already pending on the new socket; they are the client's alone
CLIENT_ERRORS = {
    errno.EAGAIN, errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.ENONET,
    errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH, errno.ETIMEDOUT, errno.ECONNRESET,
}  # fmt: skip


def ignore(_text: str) -> None:
    """Take a warning, and do nothing."""


class Listener:
    """One listening socket. `address` is the setting it stands for, None when the socket was passed."""

    __slots__ = ("_config", "accept", "address", "fd", "name", "sock")

    def __init__(self, sock: socket.socket, address: Address | None) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.fd = sock.fileno()
        self.name = write_address(sock.getsockname())
        self.address = address
        self.accept: Accept = getattr(sock, "_accept")  # noqa: B009 - raises OSError: see `is_client_error`
        if sock.proto == IPPROTO_MPTCP:
            self.accept = self._accept_and_tune

    @property
    def place(self) -> Place:
        """The family, and the address that it is bound to."""
        return int(self.sock.family), self.sock.getsockname()

    def tune(self, config: Config) -> dict[str, OSError]:
        """Set the backlog, and what accepted sockets inherit; return the options that failed. Raises OSError."""
        self._config = config
        self.sock.listen(config.backlog)  # allowed on a listening socket, too: the backlog changes
        return set_options(self.sock, config)

    def _accept_and_tune(self) -> tuple[int, tuple[Any, ...]]:
        """Accept from a listener of MPTCP. A client of plain TCP inherits no time limit from it. Raises OSError."""
        fd, address = self.sock._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - see above
        conn = socket.socket(fileno=fd)
        set_options(conn, self._config)
        conn.detach()
        return fd, address

    def share(self, on: bool) -> None:
        """Let a socket of the same user be bound to an address that overlaps this one's (SO_REUSEPORT)."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(on))

    def unlist(self) -> None:
        """Let no connection begin here: on an interface that does not exist no SYN finds it. Raises OSError.

        Another listener on the same port gets it, or it is refused. Handshakes under way come to their end here.
        """
        self.sock.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, NO_INTERFACE)

    def stop(self) -> None:
        """Stop listening: clients still in the backlog are reset by the kernel, others refused. Raises OSError.

        Closing is not enough, while a child just forked has a copy. A socket that was passed is not stopped.
        """
        if self.address is not None:
            self.sock.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Close this process's copy. Raises OSError."""
        self.sock.close()


def is_client_error(error: OSError) -> bool:
    """Tell the errors of accept(2) that are a client's, and pass with it, from those of the system.

    Those are EMFILE, ENFILE, ENOBUFS and ENOMEM: out of descriptors or memory; EPERM: a sandbox refuses the call.
    """
    return error.errno in CLIENT_ERRORS


def look_up(address: Address) -> list[Place]:
    """Return where a host's sockets are bound: one place for each of its addresses. Raises BindError."""
    host, port = address
    try:  # bytes, because text would import a codec for international names into the forking process
        found = socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise unresolved(address, error) from None
    return list(dict.fromkeys((int(entry[0]), entry[4]) for entry in found))


def bind(
    address: Address,
    config: Config,
    opener: Opener | None = None,
    places: Sequence[Place] | None = None,
    *,
    warn: Warn = ignore,
) -> list[Listener]:
    """Listen on an address: one socket for each address of the host that the machine has. Raises BindError.

    `opener` opens each socket: `open_listener`, or a function that does less or more. `places` are those of the host,
    if they have been looked up. `warn` is called with a text for each address of a name that the machine lacks.
    """
    opener = opener or open_listener
    if address[0] == "*":
        return bind_any(address, config, opener)
    text = write_address(address)
    listeners: list[Listener] = []
    lacking: list[tuple[str, OSError]] = []
    for family, where in places or look_up(address):
        try:
            listeners.append(opener(family, where, address, config))
        except OSError as error:
            name = write_address(where)
            lacking.append((text if name == text else f"{text} ({name})", error))
            if error.errno not in LACKS:
                close_all(listeners)
                raise BindError(*lacking[-1]) from None
    if not listeners:
        raise BindError(*lacking[0])
    for name, why in lacking:
        warn(str(BindError(name, why)))
    return listeners


def bind_any(address: Address, config: Config, opener: Opener) -> list[Listener]:
    """Listen on a port of IPv4 and of IPv6, or of the one that the machine has. Raises BindError."""
    listeners: list[Listener] = []
    errors: list[OSError] = []
    port = address[1]
    for family, host in zip((socket.AF_INET, socket.AF_INET6), ANY_HOSTS, strict=True):
        try:
            listeners.append(opener(family, (host, port), address, config))
        except OSError as error:
            errors.append(error)
            if error.errno in LACKS:
                continue
            close_all(listeners)
            if error.errno == errno.EADDRINUSE and port != address[1]:
                return bind_any(address, config, opener)  # the free port was free for IPv4 alone: another one
            raise BindError(write_address((host, port) if listeners else address), error) from None
        port = listeners[0].place[1][1]
    if not listeners:
        raise BindError(write_address(address), errors[0])
    return listeners


def close_all(listeners: list[Listener]) -> None:
    """Close listeners that are not needed after all. Raises OSError."""
    for listener in listeners:
        listener.close()


def open_listener(family: int, where: Any, address: Address, config: Config) -> Listener:
    """Open one listening socket. Raises OSError."""
    return listen(bind_socket(family, where), address, config)


def open_shared(family: int, where: Any, address: Address, config: Config) -> Listener:
    """Open one that may overlap with sockets of the same user that are shared, too. Raises OSError."""
    return listen(bind_socket(family, where, share=True), address, config)


def bind_socket(family: int, where: Any, *, share: bool = False) -> socket.socket:
    """Return a socket that is bound, and does not listen yet. Raises OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # UNP 7.5, TLPI 61.10
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
    except BaseException:
        sock.close()
        raise
    return sock


def listen(sock: socket.socket, address: Address, config: Config) -> Listener:
    """Make a bound socket a listener. Raises OSError; then the socket is closed."""
    try:
        listener = Listener(sock, address)
        listener.tune(config)
    except BaseException:
        sock.close()
        raise
    return listener


def bind_all(
    addresses: list[Address], config: Config, opener: Opener | None = None, *, warn: Warn = ignore
) -> list[Listener]:
    """Bind all the addresses, or none; `opener` and `warn` are those of `bind`. Raises BindError."""
    bound: list[Listener] = []
    try:
        for address in addresses:
            bound += bind(address, config, opener, warn=warn)
        refuse_overlap(bound)
    except BindError:
        close_all(bound)
        raise
    return bound


def refuse_overlap(listeners: list[Listener]) -> None:
    """Raise BindError if two sockets of one list overlap: the kernel lets only one of them listen, unless both share.

    Otherwise a reload, which shares, would accept a list on which every later start fails.
    """
    hosts: dict[tuple[int, int], set[Any]] = {}
    for listener in listeners:
        family, (host, port, *scope) = listener.place
        taken = hosts.setdefault((family, port), set())
        wide = taken if host in ANY_HOSTS else {taken_host for taken_host in taken if taken_host[0] in ANY_HOSTS}
        if wide or (host, *scope) in taken:
            name = write_address(listener.place[1])
            raise BindError(
                name, OSError(errno.EINVAL, "overlaps with another address of listen; leave one of them out")
            )
        taken.add((host, *scope))


def adopt(addresses: Sequence[Address | None], fds: Sequence[int] = ()) -> list[Listener]:
    """Take over the sockets passed by whoever started us, one for each of `addresses`: from 3 on, or on `fds`.

    Raises ConfigError if one of them is not a listening TCP socket, or OSError.
    """
    listeners = []
    for address, fd in zip(addresses, fds or range(SD_LISTEN_FDS_START, 1 << 16), strict=False):
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
        if not is_tcp_listener(sock):
            sock.close()
            raise ConfigError(f"descriptor {fd}: is not a listening TCP socket; in a unit: ListenStream=")
        listeners.append(Listener(sock, address))
    return listeners


def is_tcp_listener(sock: socket.socket) -> bool:
    """Return True for a listening socket of TCP or MPTCP. Raises OSError."""

    def option(name: int) -> int:
        return sock.getsockopt(socket.SOL_SOCKET, name)

    is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6) and option(socket.SO_PROTOCOL) in (
        socket.IPPROTO_TCP,
        IPPROTO_MPTCP,
    )
    return is_tcp and bool(option(socket.SO_ACCEPTCONN))
