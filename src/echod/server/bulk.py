"""What a session reads bulk into: mapped before the fork, once for all children. A small message needs none of it."""

from __future__ import annotations

import mmap
import select

SIZE, SMALL = 256 << 10, (16 << 10) + 1  # bytes; a read of SMALL or more is of the bulk
FIRST = 960  # bytes that are read without it: a block of this size malloc(3) has at hand, a larger one is new memory
FEW = 16  # reads: after so many small ones in a row a client no longer moves bulk
PAUSE = 100  # milliseconds without data: it is idle

MAPPING = mmap.mmap(-1, SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
VIEWS = (memoryview(MAPPING),)  # as readv(2) takes them
POLLER = select.poll()
# made before the fork: what a child looks up is memory that an idle client has
register, poll, give_back = POLLER.register, POLLER.poll, MAPPING.madvise
POLLIN, DONTNEED = select.POLLIN, mmap.MADV_DONTNEED


def await_more(fd: int, count: int, small: int) -> int:
    """Wait, after a read of `count` bytes, for more of the bulk; when it is over, give its memory back and return 0.

    `small` is what the last call returned: how many reads in a row were small, and one. A time-out of the socket
    (SO_RCVTIMEO) instead of poll(2) would touch more of the interpreter, and an idle client would keep that memory.
    """
    if not small:
        register(fd, POLLIN)
    small = small + 1 if count < SMALL else 1
    try:
        if small <= FEW and poll(PAUSE):
            return small
        give_back(DONTNEED)
    except OSError:  # the client has its echo all the same
        return 0
    return 0
