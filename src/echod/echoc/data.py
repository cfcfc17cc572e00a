"""The bytes that echoc sends, and where two byte strings differ.

The data are random, seeded and endless. Any part of them is at hand without being generated again.
"""

from __future__ import annotations

PERIOD_BYTES = 1048573  # the greatest prime below 1 MiB: no loss or shift by a buffer's size falls on equal bytes
SPAN_BYTES = 1 << 20


def differences(got: bytes, expected: bytes) -> bytes:
    """Return the exclusive or of two byte strings of equal length: zero where they agree."""
    return (int.from_bytes(got) ^ int.from_bytes(expected)).to_bytes(len(got))


def first_difference(got: bytes, expected: bytes) -> int:
    """Return the first index at which two byte strings of equal length differ, or their length."""
    return len(got) - len(differences(got, expected).lstrip(b"\0"))


class Data:
    """A random block, repeated without end, as one connection sees it: from its own starting point.

    Connections share the block, so that fifty cost no more memory than one. At the same offset their bytes differ.
    """

    def __init__(self, block: bytes, start: int = 0) -> None:
        """Lay out `block`, PERIOD_BYTES random bytes followed by at least SPAN_BYTES more of the repetition."""
        self._block = block
        self._view = memoryview(block)
        self._start = start

    def from_point(self, start: int) -> Data:
        """Return the same data, beginning at another point."""
        return Data(self._block, start)

    def view(self, offset: int, length: int) -> memoryview:
        """Return `length` bytes (at most SPAN_BYTES) from `offset` on."""
        at = (self._start + offset) % PERIOD_BYTES
        return self._view[at : at + length]

    def matches(self, got: memoryview, offset: int) -> bool:
        """Return True if `got` (at most SPAN_BYTES) equals the data at `offset`: a memcmp that copies nothing."""
        return self._block.startswith(got, (self._start + offset) % PERIOD_BYTES)

    def find(self, key: bytes) -> int | None:
        """Return an offset below PERIOD_BYTES at which `key` (at most SPAN bytes) is found, or None."""
        at = self._block.find(key)
        return None if at < 0 else (at - self._start) % PERIOD_BYTES


def seeded(seed: int) -> Data:
    """Return the data of the seed `seed`."""
    import random  # noqa: PLC0415  it takes milliseconds, and a probe does not need it

    block = random.Random(seed).randbytes(PERIOD_BYTES)  # noqa: S311  to be repeated, not to be secret
    return Data((block * 3)[: PERIOD_BYTES + SPAN_BYTES])
