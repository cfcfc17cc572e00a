"""What a session reads into: mapped before the fork, so that a child has those of its pages that it writes to."""

from __future__ import annotations

import mmap
import select

SIZE, SMALL = 256 << 10, 16 << 10  # a client whose reads are no larger has no more of it
FEW = 16  # reads: so many small ones in a row, and the client no longer moves bulk
PAUSE = 100  # milliseconds without data: it is idle

MAPPING = mmap.mmap(-1, SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
VIEWS = (memoryview(MAPPING),)  # as readv(2) takes them


class Bulk:
    """A client's large reads, from the first of them until they end."""

    __slots__ = ("_poller", "_small")

    def __init__(self) -> None:
        self._poller: select.poll | None = None
        self._small = 0  # reads in a row

    def goes_on(self, fd: int, count: int) -> bool:
        """Wait, after a read of `count` bytes, whether more comes; at the end of the bulk give its memory back.

        A time-out of the socket (SO_RCVTIMEO) in place of poll(2) would save 2 % of a message of 64 KiB, but its
        exception and the calls that set it touch 90 KiB of the interpreter.
        """
        if self._poller is None:
            self._poller = select.poll()
            self._poller.register(fd, select.POLLIN)
        self._small = self._small + 1 if count <= SMALL else 0
        if self._small < FEW and self._poller.poll(PAUSE):
            return True
        self._small = 0
        MAPPING.madvise(mmap.MADV_DONTNEED)
        return False
