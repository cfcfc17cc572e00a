"""The buffer into which a session reads bulk: one mapping, made before the fork and used by every child as its own.

A child has only the pages of it that it has read into. When a client pauses, or sends small messages, the child gives
these pages back (madvise(2)), so that an idle client keeps next to nothing. A small message does not use the buffer.
"""

from __future__ import annotations

import mmap
import select

BUFFER_BYTES = 256 << 10
BULK_BYTES = (16 << 10) + 1  # a read of so many bytes or more is bulk
FIRST_READ_BYTES = 960  # that are read without the buffer; malloc(3) has so much at hand
SMALL_READS = 16  # after so many small reads in a row a client no longer moves bulk
IDLE_MS = 100  # without data

MAPPING = mmap.mmap(-1, BUFFER_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
VIEWS = (memoryview(MAPPING),)  # in the form that readv(2) takes
POLLER = select.poll()
# Looked up before the fork: what a child looks up by itself becomes memory of every client.
register, poll, give_back = POLLER.register, POLLER.poll, MAPPING.madvise
POLLIN, DONTNEED = select.POLLIN, mmap.MADV_DONTNEED


def await_more(fd: int, count: int, small: int) -> int:
    """Wait for more bulk after a read of `count` bytes; at its end give the memory back and return 0.

    `small` is what the previous call returned, 0 at first: one more than the number of small reads in a row.
    """
    if not small:
        register(fd, POLLIN)
    small = small + 1 if count < BULK_BYTES else 1
    try:
        if small <= SMALL_READS and poll(IDLE_MS):
            return small
        give_back(DONTNEED)
    except OSError:  # the client has its echo anyway
        return 0
    return 0


def forget(fd: int) -> None:
    """Return to the state before the first bulk, which was read from this descriptor: see the rehearsal."""
    await_more(fd, 0, SMALL_READS)
    POLLER.unregister(fd)
