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
SD_LISTEN_FDS_START = 3  # sd_listen_fds(3)
PRIVILEGED_PORTS = 1024  # the default of net.ipv4.ip_unprivileged_port_start (ip(7))
NEVER_FOR_TCP = 32767  # seconds: the most that TCP_KEEPIDLE takes (tcp(7))
IDLE_SHARE = 0.55  # of idle_timeout that a read or write waits: two of these without a byte are more than all of it
SO_BINDTOIFINDEX, NO_INTERFACE = 62, 0x7FFFFFFF  # asm-generic/socket.h; no machine has so many
# UNP 5.11, accept(2): Linux passes network errors already pending on the new socket; they are the client's alone
CLIENT_ERRORS = {
    errno.EAGAIN, errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.ENONET,
    errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH, errno.ETIMEDOUT, errno.ECONNRESET,
}  # fmt: skip


class BindError(EchodError):
    """An address cannot be listened on."""

    def __init__(self, text: str, error: OSError) -> None:
        port = text.rpartition(":")[2]
        why = f"{error.strerror}{bind_hint(error, int(port) if port.isdecimal() else 0)}"
        super().__init__(f"cannot listen on {text}: {why}", NOT_PERMITTED if error.errno == errno.EACCES else FAILED)


def bind_hint(error: OSError, port: int) -> str:
    """Return what to do if bind(2) has failed, or nothing."""
    if error.errno == errno.EADDRINUSE:  # the holder may be a connection, too, or this daemon
        return "; `echod check` names the process that has the port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "; no interface has this address, `ip -br address` lists those there are"
    if error.errno == errno.EACCES and port < PRIVILEGED_PORTS:
        return "; ports below 1024 need CAP_NET_BIND_SERVICE: start as root, or by echod.socket, or with low-port.conf"
    if error.errno == errno.EACCES:
        return "; a security policy refuses this port (SELinux, a sandbox, net.ipv4.ip_unprivileged_port_start)"
    return ""


def unresolved(address: Address, error: OSError) -> BindError:
    """Return the error for a host that the resolver does not find; `error` is its gaierror."""
    why = str(error.args[-1])
    try:
        socket.if_nametoindex(address[0])
    except OSError:
        return BindError(write_address(address), OSError(0, why))
    hint = f"{address[0]} is an interface; `ip -br address show dev {address[0]}` lists its addresses"
    return BindError(write_address(address), OSError(0, f"{why}; {hint}"))


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


def bind(address: Address, config: Config, *, share: bool = False) -> list[Listener]:
    """Bind and listen on an address: one socket for each family and each address of the host. Raises BindError."""
    host, port = address
    if host == "*":
        return bind_any(address, config, share=share)
    text = write_address(address)
    try:  # bytes, because text would import a codec for international names into the forking process
        found = socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise unresolved(address, error) from None
    listeners: list[Listener] = []
    try:
        for family, where in dict.fromkeys((entry[0], entry[4]) for entry in found):
            listeners.append(open_listener(int(family), where, address, config, share=share))
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise BindError(text, error) from None
    return listeners


def bind_any(address: Address, config: Config, *, share: bool) -> list[Listener]:
    """Bind IPv4 and IPv6 to the same port; IPv4 alone where there is no IPv6. Raises BindError."""
    try:
        first = open_listener(socket.AF_INET, ("0.0.0.0", address[1]), address, config, share=share)  # noqa: S104
    except OSError as error:
        raise BindError(write_address(address), error) from None
    port = first.sock.getsockname()[1]
    try:
        return [first, open_listener(socket.AF_INET6, ("::", port), address, config, share=share)]
    except OSError as error:
        if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            return [first]
        first.close()
        if error.errno == errno.EADDRINUSE and port != address[1]:
            return bind_any(address, config, share=share)  # the free port was free for IPv4 alone: another one
        raise BindError(f"[::]:{port}", error) from None


def open_listener(family: int, where: Any, address: Address, config: Config, *, share: bool) -> Listener:
    """Open one listening socket. Raises OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # UNP 7.5, TLPI 61.10
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
        listener = Listener(sock, address)
        listener.tune(config)
    except BaseException:
        sock.close()
        raise
    return listener


def bind_all(addresses: list[Address], config: Config, *, share: bool = False) -> list[Listener]:
    """Bind all the addresses, or none. Raises BindError."""
    bound: list[Listener] = []
    try:
        for address in addresses:
            bound += bind(address, config, share=share)
    except BindError:
        for listener in bound:
            listener.close()
        raise
    return bound


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
