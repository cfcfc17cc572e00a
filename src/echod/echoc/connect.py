"""From a name to a connected socket, within the target's time-out."""

from __future__ import annotations

import _thread
import socket
import struct
import time

from echod.echoc import proxy
from echod.echoc.faults import ConnectError, ServerError, Value, no_banner, seconds_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    AddressInfo = tuple[int, int, int, str, tuple[str, int]]  # as socket.getaddrinfo returns it

PORT = 27978
BANNER_BYTES = 4096  # at most
FAILURES_SHOWN = 5  # a name may have thousands of addresses
RESET_AT_CLOSE = struct.pack("@ii", 1, 0)  # struct linger: on, for 0 s


class Target(Value):
    """A server, and how to reach it.

    `timeout` (seconds, above 0) limits the connection, with the look-up of the name, and then each silence of a server
    that owes bytes or the close. `family` is AF_INET, AF_INET6, or AF_UNSPEC for both. `source` is the local address to
    connect from. With `send_proxy` each connection begins with a PROXY v2 header. With `banner` the server sends a line
    before its echo, which is read and dropped.
    """

    def __init__(  # noqa: PLR0913 - how to reach a server
        self,
        host: str,
        port: int = PORT,
        timeout: float = 10.0,
        family: int = socket.AF_UNSPEC,
        source: str | None = None,
        send_proxy: bool = False,
        *,
        banner: bool = False,
    ) -> None:
        self.host = host
        self.port = port
        self.timeout = timeout
        self.family = family
        self.source = source
        self.send_proxy = send_proxy
        self.banner = banner

    def __str__(self) -> str:
        return f"{self.host} port {self.port}"


class SelfConnectError(OSError):
    """The kernel chose, as the local port, the port to connect to, and TCP connected the socket to itself."""

    def __str__(self) -> str:
        return "connected to itself (a TCP self-connect): no process listens there"


def connect(target: Target) -> socket.socket:
    """Return a blocking socket that is connected to the first of the target's addresses that accepts.

    All of it takes at most `target.timeout` seconds. Each address but the last gets half of the time that is left:
    otherwise one that does not answer would use up the time of the others.
    ConnectError: the name does not resolve, or no address accepts; the message gives the reason for each.
    ServerError: the server was to send a banner, and did not.
    """
    deadline = time.monotonic() + target.timeout
    family, local = target.family, None
    if target.source is not None:
        family, *_, local = _resolve(target.source, 0, family, deadline)[0]
    found = _resolve(target.host, target.port, family, deadline)
    failures: list[str] = []
    for left, info in zip(range(len(found), 0, -1), found, strict=True):
        seconds = (deadline - time.monotonic()) / min(left, 2)
        if seconds <= 0:
            break
        try:
            sock = _attempt(target, local, info, seconds)
        except OSError as error:
            failures.append(f"{info[4][0]}: {_reason(error, seconds)}")
            continue
        if target.banner:
            _read_banner(sock, deadline)
        return sock
    raise ConnectError(f"{target}: {_summary(failures, len(found))}")


def _resolve(host: str, port: int, family: int, deadline: float) -> list[AddressInfo]:
    """Look up a name. The resolver has its own time limits, which may be longer: another thread waits for it.

    An address needs no thread. (fork(2) warns of one, and a thread that is just ending is still one.)
    """
    left = max(0.0, deadline - time.monotonic())
    found: list[list[AddressInfo] | OSError] = []
    is_done = _thread.allocate_lock()
    is_done.acquire()

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(name, port, family, socket.SOCK_STREAM))  # type: ignore[arg-type]
        except OSError as error:
            found.append(error)
        finally:
            is_done.release()

    try:
        name = host.encode("ascii" if host.isascii() else "idna")
        return socket.getaddrinfo(name, port, family, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)  # type: ignore[return-value]
    except UnicodeError:  # a label that IDNA cannot have
        raise ConnectError(f"{host}: not a valid name") from None
    except OSError:  # it is not an address
        pass
    try:
        _thread.start_new_thread(look_up, ())
    except RuntimeError:  # no thread to be had
        look_up()
    if not is_done.acquire(timeout=left):
        raise ConnectError(f"{host}: no answer from the resolver within {seconds_text(left)}")
    if isinstance(found[0], OSError):
        raise ConnectError(f"{host}: {found[0].strerror}")
    return found[0]


def _attempt(target: Target, local: tuple[str, int] | None, info: AddressInfo, timeout_s: float) -> socket.socket:
    family, type_, protocol, _, address = info
    sock = socket.socket(family, type_, protocol)
    try:
        if local is not None:
            _bind(sock, target, local)
        _open(sock, target, address, timeout_s)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind(sock: socket.socket, target: Target, local: tuple[str, int]) -> None:
    try:
        sock.bind(local)
    except OSError as error:
        raise ConnectError(f"cannot connect from {target.source}: {error.strerror}") from None


def _open(sock: socket.socket, target: Target, address: tuple[str, int], timeout_s: float) -> None:
    sock.settimeout(timeout_s)
    try:  # noqa: SIM105  contextlib takes milliseconds
        sock.connect(address)
    except (ConnectionResetError, BrokenPipeError):  # accepted, then reset: the first read reports that
        pass
    sock.settimeout(None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        mine, peer = sock.getsockname(), sock.getpeername()
        if mine != peer and target.send_proxy:
            sock.sendall(proxy.header(sock.family, mine[:2], peer[:2]))
    except OSError:  # it is reset already
        return
    if mine == peer:
        # An orderly close would keep the port in TIME_WAIT, and the server that is missing could not bind it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        raise SelfConnectError


def _read_banner(sock: socket.socket, deadline: float) -> None:
    """Read a line, byte by byte: what follows it is the echo."""
    byte, why = b"", ""
    try:
        for _ in range(BANNER_BYTES):
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            byte = sock.recv(1)
            if byte in (b"", b"\n"):
                break
        why = "closed before the end of the line" if not byte else "the line is too long" if byte != b"\n" else ""
    except TimeoutError:
        why = "the line did not end in time"
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        sock.close()
        raise ServerError(no_banner(why))
    sock.settimeout(None)


def _reason(error: OSError, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds_text(timeout_s)}"
    if isinstance(error, ConnectionRefusedError):
        return "refused: no process listens there"
    return error.strerror or str(error)


def _summary(failures: list[str], addresses: int) -> str:
    """Return why no address accepted: the first reasons, and the number of the other addresses."""
    shown = failures[:FAILURES_SHOWN]
    if addresses > len(shown):
        shown.append(f"and {addresses - len(shown)} more addresses")
    return "; ".join(shown) or "no time left"
