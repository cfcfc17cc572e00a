"""What is done before the first client, so that each costs less: a fork copies every page that is written to."""

from __future__ import annotations

from _thread import allocate_lock

from echod.common.cmodules import socket
from echod.server.buffer import FEW, FIRST, POLLER, SMALL, await_more

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TIMES = 100  # sessions, after which all of the code is specialised
SCATTERED, FORK_LOCKS, READS = 1000, 7, 2  # blocks of memory: free here and there, at most; what a child takes
POOL, HEADER = 16 << 10, 48  # bytes of a pool, and of its head
MOST, NUMBER = 1000, 1 << 20  # blocks that may be free of a size; a small number would be no new object


def serve_ourselves(serve: Callable[[int], None]) -> None:
    """Have `serve` echo a few bytes, and bulk, on a socket's descriptor. Raises OSError.

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
    await_more(fd, 0, FEW)  # as at the end of bulk: gives its memory back
    POLLER.unregister(fd)


def reserve() -> list[object]:
    """Take as many blocks of memory as a child needs, side by side: behind all that are free here and there."""
    scattered = [allocate_lock() for _ in range(SCATTERED)]
    reserved: list[object] = [allocate_lock() for _ in range(FORK_LOCKS)]
    reserved += [bytes(FIRST) for _ in range(READS)]
    del scattered
    return reserved


RESERVED = reserve()  # early: what is imported later takes the scattered ones


def free_reserved() -> None:
    """Have malloc(3) give away the reserved blocks next: a fork renews six locks in the child, which then reads twice.

    Side by side they are on few pages, and malloc finds them in its cache without a search.
    """
    cached = [allocate_lock() for _ in range(FORK_LOCKS)]
    RESERVED.clear()  # into malloc's cache, in the place of these
    del cached


def begin_pools() -> list[object]:
    """Have small objects made from now on lie side by side, in a new pool; returns what is to be kept for that.

    CPython's allocator gives away first what is free here and there (Objects/obmalloc.c). A client's objects are of two
    sizes, and what is free of these is taken here.
    """
    kept: list[object] = []
    for size, blocks in (32, range(NUMBER, NUMBER + MOST)), (64, (bytes(20) for _ in range(MOST))):
        for block in blocks:
            kept.append(block)
            if all(id(each) % POOL < HEADER + 16 * size for each in kept[-4:]):  # one alone may be there by chance
                break
    return kept
