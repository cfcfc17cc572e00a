"""The bytes that verify sends: random, seeded, endless, at any offset without being generated again."""

from __future__ import annotations

import random

PERIOD = 1048573  # the greatest prime below 1 MiB: no loss or shift by a buffer's size falls on equal bytes
SPAN = 1 << 20


class Data:
    """A random block, repeated for ever, as one connection sees it: from a point of its own on.

    Connections share the block, so that fifty cost what one costs, but send different bytes at the same offset.
    """

    def __init__(self, block: bytes, start: int = 0) -> None:
        """Lay out `block`, PERIOD random bytes followed by at least SPAN more of the repetition."""
        self._block = block
        self._view = memoryview(block)
        self._start = start

    def from_point(self, start: int) -> Data:
        """Return the same data, beginning at another point."""
        return Data(self._block, start)

    def view(self, offset: int, length: int) -> memoryview:
        """Return `length` bytes (at most SPAN) from `offset` on."""
        at = (self._start + offset) % PERIOD
        return self._view[at : at + length]

    def matches(self, got: memoryview, offset: int) -> bool:
        """Whether `got` (at most SPAN bytes) equals the data at `offset`: a memcmp, without copying either side."""
        return self._block.startswith(got, (self._start + offset) % PERIOD)

    def find(self, key: bytes) -> int | None:
        """Return an offset below PERIOD where `key` (at most SPAN bytes) is found, None if nowhere."""
        at = self._block.find(key)
        return None if at < 0 else (at - self._start) % PERIOD


def seeded(seed: int) -> Data:
    """Return the data that belongs to `seed`."""
    block = random.Random(seed).randbytes(PERIOD)  # noqa: S311  to be repeated, not to be secret
    return Data((block * 3)[: PERIOD + SPAN])
