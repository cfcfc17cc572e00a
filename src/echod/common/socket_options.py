"""The options of TCP sockets: what the settings ask for, each set by itself (socket(7), tcp(7)).

A listener gets them once, and the connections inherit them: a client costs no system call for them.
"""

from __future__ import annotations

import errno
from sys import byteorder

from echod.common.cmodules import LONG, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.common.config.settings import Config

NEVER_FOR_TCP = 32767  # seconds: the most that TCP_KEEPIDLE takes (tcp(7))
LONGEST_BYTES = 8  # of a number in a struct timeval
IDLE_SHARE = 0.55  # of idle_timeout that a read or write waits: two of these without a byte are more than all of it


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
