"""The ways in which verify uses a connection."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from echod.echoc.data import SPAN_BYTES
from echod.echoc.faults import UsageError

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator


class Close(Enum):
    """How a connection is ended."""

    AFTER_SENDING = "half-close after the last byte is sent"
    WITH_DATA = "half-close in the same segment as the last data, before anything is read"
    LATE = "half-close after the last byte is back"
    ABRUPT = "reset half-way"


@dataclass(frozen=True)
class Pattern:
    """One way to use a connection.

    `chunk` is the number of bytes per write (0: at random), and `limit` the largest number of bytes that makes sense. A
    `late_reader` reads only once the sender is stuck or done. A fault that occurs only now and then needs several
    `tries`, each on its own connection with its share of the bytes.
    """

    name: str
    about: str
    chunk: int = SPAN_BYTES
    limit: int | None = None
    tries: int = 1
    late_reader: bool = False
    close: Close = Close.AFTER_SENDING

    def size(self, wanted: int) -> int:
        """Return how many bytes to send on each connection if the user wants `wanted`."""
        return max(1, min(wanted, self.limit or wanted) // self.tries)

    def chunks(self, size: int, rng: random.Random) -> Iterator[int]:
        """Yield the sizes of the writes that send `size` bytes; random ones are as often tiny as large."""
        while size > 0:
            chunk = min(size, self.chunk or int(2 ** rng.uniform(0, math.log2(SPAN_BYTES))))
            yield chunk
            size -= chunk


PATTERNS = (
    Pattern("byte", "writes of one byte (64 KiB at most)", chunk=1, limit=1 << 16),
    Pattern("16KiB", "writes of 16 KiB", chunk=1 << 14),
    Pattern("1MiB", "writes of 1 MiB"),
    Pattern("random", "writes of random size, 1 byte to 1 MiB", chunk=0),
    Pattern(
        "half-close",
        "half-close together with the data, then read (64 KiB at most)",
        limit=1 << 16,
        close=Close.WITH_DATA,
    ),
    # A prime: sizes that fit a server's buffers evenly would hide the deadlock of a server that waits for its own pipe.
    Pattern("late-reader", "read only once the sender is stuck or done", chunk=99991, tries=8, late_reader=True),
    Pattern("late-close", "half-close only when all bytes are back", close=Close.LATE),
    Pattern("abrupt", "reset half-way, then expect a new connection to be served", close=Close.ABRUPT),
)


def named(names: str) -> tuple[Pattern, ...]:
    """Return the patterns of a list like "byte,late-reader". UsageError: a pattern does not exist."""
    known = {pattern.name.lower(): pattern for pattern in PATTERNS}
    try:
        return tuple(known[name.strip().lower()] for name in names.split(","))
    except KeyError as error:
        raise UsageError(f"pattern {error}: unknown; the patterns are {', '.join(p.name for p in PATTERNS)}") from None
