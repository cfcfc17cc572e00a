"""What is done before the first client, so that each costs less: a fork copies every page that is written to."""

from __future__ import annotations

from _thread import allocate_lock

from echod.common.cmodules import socket
from echod.server.buffer import FIRST, POLLER, SMALL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable

TIMES, LOCKS, FORK_LOCKS = 100, 100, 7


def serve_ourselves(serve: Callable[[int], None]) -> None:
    """Have `serve` echo a few bytes, and bulk, on a socket's descriptor: 13 to 15 % of a connection. Raises OSError.

    The interpreter specialises code as it runs (PEP 659), and writes to it: in a child for each client anew.
    """
    for number in range(TIMES):
        here, peer = socket.socketpair()
        peer.send(b"echo" if number % 4 else bytes(FIRST + SMALL))
        peer.shutdown(socket.SHUT_WR)
        fd = here.fileno()
        serve(fd)
        peer.close()
        here.close()
    POLLER.unregister(fd)  # registered for the bulk


def free_locks() -> list[LockType]:
    """Have the blocks of memory freed last lie side by side; returns what is to be kept for that: 3 % of a connection.

    A fork renews six locks in the child, and takes these.
    """
    locks = [allocate_lock() for _ in range(LOCKS)]
    del locks[-FORK_LOCKS:]
    return locks
