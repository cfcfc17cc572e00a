"""Listening sockets: bind them or adopt those that were passed, accept from them. Here accept's errors are classified.

What accepted sockets inherit on Linux is set once, on the listener: TCP_NODELAY, keep-alive and the time limits cost a
client no system call.
"""

from __future__ import annotations

import errno

from echod.common.cmodules import as_long, os, socket
from echod.common.config.addresses import write_address
from echod.common.errors import FAILED, NOT_PERMITTED, EchodError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from echod.common.config.addresses import Address
    from echod.common.config.settings import Config

    Accept = Callable[[], tuple[int, tuple[Any, ...]]]  # gives a connected descriptor and its peer
    Place = tuple[int, tuple[Any, ...]]  # a family, and an address as bind(2) takes it
    Opener = Callable[[int, Any, Address, Config], "Listener"]
SD_LISTEN_FDS_START = 3  # sd_listen_fds(3)
NEVER_FOR_TCP = 32767  # seconds: the most that TCP_KEEPIDLE takes (tcp(7))
IDLE_SHARE = 0.55  # of idle_timeout that a read or write waits: two of these without a byte are more than all of it
ANY_HOSTS = ("0.0.0.0", "::")  # noqa: S104 - to compare with
SO_BINDTOIFINDEX, NO_INTERFACE = 62, 0x7FFFFFFF  # asm-generic/socket.h; no machine has so many
# UNP 5.11, accept(2): Linux passes network errors already pending on the new socket; they are the client's alone
CLIENT_ERRORS = {
    errno.EAGAIN, errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.ENONET,
    errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH, errno.ETIMEDOUT, errno.ECONNRESET,
}  # fmt: skip


class BindError(EchodError):
    """An address cannot be listened on."""

    def __init__(self, text: str, error: OSError) -> None:
        hints = {
            errno.EADDRINUSE: "; another process listens there, `ss -ltnp` tells which",
            errno.EACCES: "; ports below 1024 are for root",
            errno.EADDRNOTAVAIL: "; no interface has this address",
        }
        why = f"{error.strerror}{hints.get(error.errno or 0, '')}"
        super().__init__(f"cannot listen on {text}: {why}", NOT_PERMITTED if error.errno == errno.EACCES else FAILED)
        self.error = error


class Listener:
    """One listening socket. `address` is the setting it stands for, None when the socket was passed."""

    __slots__ = ("accept", "address", "fd", "name", "sock")

    def __init__(self, sock: socket.socket, address: Address | None) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.fd = sock.fileno()
        self.name = write_address(sock.getsockname())
        self.address = address
        self.accept: Accept = getattr(sock, "_accept")  # noqa: B009 - raises OSError: see `is_client_error`

    @property
    def place(self) -> Place:
        """The family, and the address that it is bound to."""
        return int(self.sock.family), self.sock.getsockname()

    def tune(self, config: Config) -> None:
        """Set what accepted sockets are to inherit, and the backlog."""
        set_options(self.sock, config)
        self.sock.listen(config.backlog)  # again, to change it: allowed on a listening socket

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


def set_options(sock: socket.socket, config: Config) -> None:
    """Set the options of socket(7) and tcp(7) that the settings stand for; those of TCP are the last."""
    option = sock.setsockopt
    option(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)  # an urgent byte is a byte (RFC 6093)
    wait = (config.idle_timeout or 0) * IDLE_SHARE
    limit = as_long(int(wait)) + as_long(int(wait % 1 * 1e6))
    option(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    option(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(config.keepalive is not None))
    option(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # UNP 7.9
    if config.keepalive is not None:  # one of these, then three probes within another: noticed within two, or 3 s
        seconds = min(NEVER_FOR_TCP, max(1, round(config.keepalive)))
        option(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
        option(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, seconds // 3))
        option(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3 if seconds > 1 else 2)


def look_up(address: Address) -> list[Place]:
    """Return where a host's sockets are bound: one place for each of its addresses. Raises BindError."""
    host, port = address
    try:  # bytes, because text would import a codec for international names into the forking process
        found = socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise BindError(write_address(address), OSError(0, str(error.args[-1]))) from None
    return list(dict.fromkeys((int(entry[0]), entry[4]) for entry in found))


def bind(
    address: Address, config: Config, opener: Opener | None = None, places: Sequence[Place] | None = None
) -> list[Listener]:
    """Bind and listen on an address: one socket for each family and each address of the host. Raises BindError.

    `opener` opens each socket: `open_listener`, or a function that does less or more. `places` are those of the host,
    if they have been looked up.
    """
    opener = opener or open_listener
    if address[0] == "*":
        return bind_any(address, config, opener)
    text = write_address(address)
    listeners: list[Listener] = []
    try:
        for family, where in places or look_up(address):
            listeners.append(opener(family, where, address, config))
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise BindError(text, error) from None
    return listeners


def bind_any(address: Address, config: Config, opener: Opener) -> list[Listener]:
    """Bind IPv4 and IPv6 to the same port; IPv4 alone where there is no IPv6. Raises BindError."""
    try:
        first = opener(socket.AF_INET, (ANY_HOSTS[0], address[1]), address, config)
    except OSError as error:
        raise BindError(write_address(address), error) from None
    port = first.place[1][1]
    try:
        return [first, opener(socket.AF_INET6, (ANY_HOSTS[1], port), address, config)]
    except OSError as error:
        if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            return [first]
        first.close()
        if error.errno == errno.EADDRINUSE and port != address[1]:
            return bind_any(address, config, opener)  # the free port was free for IPv4 alone: another one
        raise BindError(f"[::]:{port}", error) from None


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


def bind_all(addresses: list[Address], config: Config, opener: Opener | None = None) -> list[Listener]:
    """Bind all the addresses, or none. Raises BindError."""
    bound: list[Listener] = []
    try:
        for address in addresses:
            bound += bind(address, config, opener)
        refuse_overlap(bound)
    except BindError:
        for listener in bound:
            listener.close()
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

    Raises OSError when one of them is no listening TCP socket.
    """
    listeners = []
    for address, fd in zip(addresses, fds or range(SD_LISTEN_FDS_START, 1 << 16), strict=False):
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
        if sock.family not in (socket.AF_INET, socket.AF_INET6) or not sock.getsockopt(
            socket.SOL_SOCKET, socket.SO_ACCEPTCONN
        ):
            raise OSError(errno.EINVAL, f"descriptor {fd} is no listening TCP socket")
        listeners.append(Listener(sock, address))
    return listeners
