"""Places the objects that a client needs next to each other, in memory that is written to anyway.

malloc(3) and CPython's allocator (Objects/obmalloc.c) first give away the blocks that are free here and there. Each
block that a client takes lies on a page that the fork then copies. So the blocks of the sizes that a client needs are
taken early, side by side, and freed just before the first client.

`reserve` must be called before the server's modules are imported, so that those take the scattered blocks.
"""

from __future__ import annotations

from _thread import allocate_lock

SCATTERED_BLOCKS = 1000  # at most so many blocks of the size of a lock are free here and there
FORK_LOCKS = 7  # a fork renews six locks in the child
READS = 2  # buffers that a child has at the same time
READ_BYTES = 960  # see bulk.FIRST
POOL_BYTES = 16 << 10  # of a pool of CPython's allocator
POOL_HEADER_BYTES = 48
MOST_BLOCKS = 1000  # that may be free of a size
FIRST_NUMBER = 1 << 20  # a small number would be no new object

_reserved: list[object] = []


def reserve() -> None:
    """Take the blocks of malloc(3) that a child needs, side by side: behind all that are free here and there."""
    scattered = [allocate_lock() for _ in range(SCATTERED_BLOCKS)]
    _reserved.extend(allocate_lock() for _ in range(FORK_LOCKS))
    _reserved.extend(bytes(READ_BYTES) for _ in range(READS))
    del scattered


def free_reserved() -> None:
    """Free the reserved blocks, so that malloc(3) gives them away next."""
    cached = [allocate_lock() for _ in range(FORK_LOCKS)]
    _reserved.clear()  # malloc's cache has room for them, since `cached` has emptied it
    del cached


def copy_method(owner: type, name: str) -> None:
    """Replace a method by a copy: copies that are made one after the other lie side by side.

    The interpreter writes to a function and to its code whenever they run. The copies of all that a client runs share
    a few pages, where the originals lie on one each.
    """
    method = vars(owner)[name]
    code, closure = method.__code__.replace(), method.__closure__
    setattr(owner, name, type(method)(code, method.__globals__, name, method.__defaults__, closure))


def begin_pools() -> list[object]:
    """Let small objects made from now on lie side by side, in a new pool. The caller keeps what this returns.

    A client's objects are of two sizes. All blocks of these sizes that are free elsewhere are taken here.
    """
    kept: list[object] = []
    for size, blocks in (
        (32, range(FIRST_NUMBER, FIRST_NUMBER + MOST_BLOCKS)),
        (64, (bytes(20) for _ in range(MOST_BLOCKS))),
    ):
        for block in blocks:
            kept.append(block)
            starts = [id(each) % POOL_BYTES for each in kept[-4:]]
            if all(start < POOL_HEADER_BYTES + 16 * size for start in starts):  # a single one may be there by chance
                break
    return kept
