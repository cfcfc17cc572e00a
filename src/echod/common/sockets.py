"""Listening sockets: bind them or adopt those that were passed, accept from them. Here accept's errors are classified.

What accepted sockets inherit on Linux is set once, on the listener: TCP_NODELAY, keep-alive and the time limits cost a
client no system call.
"""

from __future__ import annotations

import errno
from sys import byteorder

from echod.common.cmodules import LONG, os, socket
from echod.common.config.addresses import write_address
from echod.common.errors import FAILED, NOT_PERMITTED, ConfigError, EchodError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from echod.common.config.addresses import Address
    from echod.common.config.settings import Config

    Accept = Callable[[], tuple[int, tuple[Any, ...]]]  # gives a connected descriptor and its peer
    Warn = Callable[[str], None]
SD_LISTEN_FDS_START = 3  # sd_listen_fds(3)
NEVER_FOR_TCP = 32767  # seconds: the most that TCP_KEEPIDLE takes (tcp(7))
LONGEST_BYTES = 8  # of a number in a struct timeval
IPPROTO_MPTCP = 262  # linux/mptcp.h
LACKS = errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT  # of bind(2) and socket(2): the machine does not have this address
IDLE_SHARE = 0.55  # of idle_timeout that a read or write waits: two of these without a byte are more than all of it
SO_BINDTOIFINDEX, NO_INTERFACE = 62, 0x7FFFFFFF  # asm-generic/socket.h; no machine has so many
# UNP 5.11, accept(2): Linux passes network errors already pending on the new socket; they are the client's alone
CLIENT_ERRORS = {
    errno.EAGAIN, errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.ENONET,
    errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH, errno.ETIMEDOUT, errno.ECONNRESET,
}  # fmt: skip


def ignore(_text: str) -> None:
    """Take a warning, and do nothing."""


class BindError(EchodError):
    """An address cannot be listened on."""

    def __init__(self, text: str, error: OSError) -> None:
        hints = {
            errno.EADDRINUSE: "; another process listens there, `ss -ltnp` tells which",
            errno.EACCES: "; a port below 1024 needs root, or CAP_NET_BIND_SERVICE",
            errno.EADDRNOTAVAIL: "; no interface has this address",
        }
        why = f"{error.strerror}{hints.get(error.errno or 0, '')}"
        super().__init__(f"cannot listen on {text}: {why}", NOT_PERMITTED if error.errno == errno.EACCES else FAILED)


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


def set_options(sock: socket.socket, config: Config) -> dict[str, OSError]:
    """Set the options of socket(7) and tcp(7) that the settings stand for; return the error of each that failed.

    Each is set by itself. Otherwise one that a protocol or a sandbox refuses would take the others with it.
    """
    failed = {}
    for names, level in ((socket_options(config), socket.SOL_SOCKET), (tcp_options(config), socket.IPPROTO_TCP)):
        if level == socket.SOL_SOCKET or sock.family != socket.AF_UNIX:
            for name, value in names.items():
                try:
                    set_option(sock, level, getattr(socket, name), value)
                except OSError as error:
                    failed[name] = error
    return failed


def set_option(sock: socket.socket, level: int, option: int, value: float) -> None:
    """Set an option to a number, or to a time in seconds, which is a float. Raises OSError.

    A time is a struct timeval. Its two numbers are longs, except on a 32-bit machine with 64-bit time: it takes two
    8-byte numbers, and refuses two longs.
    """
    if not isinstance(value, float):
        sock.setsockopt(level, option, value)
        return
    for width in (LONG, LONGEST_BYTES):
        numbers = int(value), int(value % 1 * 1e6)
        try:
            sock.setsockopt(level, option, b"".join([number.to_bytes(width, byteorder) for number in numbers]))
        except OSError as error:
            if error.errno != errno.EINVAL or width == LONGEST_BYTES:
                raise
        else:
            return


def socket_options(config: Config) -> dict[str, float]:
    """Return the options of socket(7) by name."""
    limit_s = float(config.idle_timeout or 0) * IDLE_SHARE
    return {
        "SO_OOBINLINE": 1,  # an urgent byte is a byte (RFC 6093)
        "SO_RCVTIMEO": limit_s,
        "SO_SNDTIMEO": limit_s,
        "SO_KEEPALIVE": int(config.keepalive is not None),
    }


def tcp_options(config: Config) -> dict[str, float]:
    """Return the options of tcp(7) by name. A vanished peer is noticed within twice `keepalive`, or 3 s."""
    if config.keepalive is None:
        return {"TCP_NODELAY": 1}  # UNP 7.9
    seconds = min(NEVER_FOR_TCP, max(1, round(config.keepalive)))
    return {
        "TCP_NODELAY": 1,
        "TCP_KEEPIDLE": seconds,  # one of these, then three probes within another
        "TCP_KEEPINTVL": max(1, seconds // 3),
        "TCP_KEEPCNT": 3 if seconds > 1 else 2,
    }


def bind(address: Address, config: Config, *, share: bool = False, warn: Warn = ignore) -> list[Listener]:
    """Listen on an address: one socket for each address of the host that the machine has. Raises BindError.

    `warn` is called with a text for each address of a name that the machine does not have.
    """
    host, port = address
    if host == "*":
        return bind_any(address, config, share=share)
    text = write_address(address)
    try:  # bytes, because text would import a codec for international names into the forking process
        found = socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise BindError(text, OSError(0, str(error.args[-1]))) from None
    listeners: list[Listener] = []
    lacking: list[tuple[str, OSError]] = []
    for family, where in dict.fromkeys((entry[0], entry[4]) for entry in found):
        try:
            listeners.append(open_listener(int(family), where, address, config, share=share))
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


def bind_any(address: Address, config: Config, *, share: bool) -> list[Listener]:
    """Listen on a port of IPv4 and of IPv6, or of the one that the machine has. Raises BindError."""
    listeners: list[Listener] = []
    errors: list[OSError] = []
    port = address[1]
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104 - what `*` stands for
        try:
            listeners.append(open_listener(family, (host, port), address, config, share=share))
        except OSError as error:
            errors.append(error)
            if error.errno in LACKS:
                continue
            close_all(listeners)
            if error.errno == errno.EADDRINUSE and port != address[1]:
                return bind_any(address, config, share=share)  # the free port was free for IPv4 alone: another one
            raise BindError(write_address((host, port) if listeners else address), error) from None
        port = listeners[0].sock.getsockname()[1]
    if not listeners:
        raise BindError(write_address(address), errors[0])
    return listeners


def close_all(listeners: list[Listener]) -> None:
    """Close listeners that are not needed after all. Raises OSError."""
    for listener in listeners:
        listener.close()


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


def bind_all(addresses: list[Address], config: Config, *, share: bool = False, warn: Warn = ignore) -> list[Listener]:
    """Bind all the addresses, or none; `warn` is that of `bind`. Raises BindError."""
    bound: list[Listener] = []
    try:
        for address in addresses:
            bound += bind(address, config, share=share, warn=warn)
    except BindError:
        close_all(bound)
        raise
    return bound


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
