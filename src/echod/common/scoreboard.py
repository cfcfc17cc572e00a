"""The scoreboard: counters and one slot a client in a shared file, written by server and children, read by `status`.

    page 0         the counters, one 64-bit word each          the server writes
    pages 1 to 4   texts, a line each: key=value               the server writes, under a sequence number
    from page 5    slots of 128 bytes, one a client            server: pid, peer; child: start, bytes, last move

Moments are nanoseconds of CLOCK_MONOTONIC. A word is written with one aligned store, so a reader never sees half of
one. The file has room for every
`max_children` there can be; pages that no slot has used take no memory. A shared mapping costs a fork nothing: the
kernel does not copy its page table.
"""

from __future__ import annotations

import mmap
import time

from echod.common.cmodules import LONG, os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

(
    MAGIC, PID, STARTED, STATE, PEAK, ACCEPTED, CLOSED, OVER_LIMIT, PER_SOURCE, ACCESS, FORK_FAILED,
    BYTES_IN, BYTES_OUT, GENERATION, MAX_CHILDREN, TOP, SEQUENCE,
    RELOADS_BEGUN, RELOADS_DONE, RELOAD_CODE, REOPENS_BEGUN, REOPENS_DONE, REOPEN_CODE, DRAIN_MS,
) = range(24)  # fmt: skip

REFUSALS = {"over_limit": OVER_LIMIT, "per_source": PER_SOURCE, "access": ACCESS, "fork_failed": FORK_FAILED}

STARTING, RUNNING, DRAINING = range(3)
VERSION = 0x6563686F64_000001  # "echod", layout 1
NEVER = -1

# a slot's words: the pid, the session's tally, when it began and ended; of a free one, the next free slot
SENT, RECEIVED, LAST, BEGUN, ENDED, NEXT = range(1, 7)
WORD_SIZE, SLOT, SLOTS_AT, PEER_AT, PEER_ROOM = 8, 128, 20 << 10, 64, 64
monotonic_ns = time.monotonic_ns
WORD: Literal["l", "q"] = "l" if LONG == WORD_SIZE else "q"  # in a child, storing a `long` is four page faults cheaper
NOBODYS = memoryview(bytes(WORD_SIZE * NEXT)).cast(WORD)
SLOTS = 65536 + 64  # one for each of max_children, and some that are taken in advance
SIZE = SLOTS_AT + SLOTS * SLOT
TEXT_AT, TEXT_ROOM = 4 << 10, 16 << 10


class Scoreboard:
    """The shared file on the descriptor `fd`, mapped. `words` are its 64-bit words."""

    def __init__(self, fd: int, *, writable: bool = True) -> None:
        if writable:
            os.ftruncate(fd, SIZE)
        self.map = mmap.mmap(fd, SIZE, mmap.MAP_SHARED, mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0))
        self.words = memoryview(self.map).cast("B").cast(WORD)
        self._free = 0  # the slot freed last; each free one names the next
        if writable:
            self.words[MAGIC] = VERSION
            self.words[PID] = os.getpid()
            self.words[STARTED] = monotonic_ns()
            self.words[GENERATION] = 1

    # the server's side; a slot is known by the number of its first word

    def take(self) -> int:
        """Take a slot; the one freed last first, its page is warm."""
        slot = self._free
        if slot:
            self._free = self.words[slot + NEXT]
            return slot
        number = self.words[TOP]
        self.words[TOP] = number + 1
        return (SLOTS_AT + number * SLOT) // 8

    def free(self, slot: int) -> None:
        """Give back a slot that no child came to own."""
        self.words[slot + NEXT] = self._free
        self._free = slot

    def enter(self, slot: int, pid: int, peer: str) -> None:
        """Count a client, and name the child that owns its slot: from now on readers show it."""
        words = self.words
        at = slot * WORD_SIZE + PEER_AT
        self.map[at : at + PEER_ROOM] = peer.encode()[:PEER_ROOM].ljust(PEER_ROOM, b"\0")
        words[slot] = pid
        words[ACCEPTED] += 1
        words[PEAK] = max(words[PEAK], words[ACCEPTED] - words[CLOSED])

    def leave(self, slot: int) -> tuple[int, int, int]:
        """Count out a child that is gone, and free its slot; returns its bytes in, bytes out and milliseconds."""
        words = self.words
        sent, received, _, begun, ended = words[slot + SENT : slot + NEXT]
        self.wipe(slot)
        words[BYTES_IN] += received
        words[BYTES_OUT] += sent
        words[CLOSED] += 1
        self.free(slot)
        return received, sent, ((ended or monotonic_ns()) - begun) // 1_000_000 if begun else 0

    def wipe(self, slot: int) -> None:
        """Have a slot be nobody's."""
        self.words[slot : slot + NEXT] = NOBODYS

    def set_texts(self, **texts: str) -> None:
        """Replace the texts. An odd sequence number tells readers that they are being written."""
        lines = "\n".join(f"{key}={value.translate({10: ' '})}" for key, value in texts.items())
        raw = lines.encode(errors="surrogateescape")[: TEXT_ROOM - 1]  # a path need not be UTF-8
        self.words[SEQUENCE] += 1
        self.map[TEXT_AT : TEXT_AT + TEXT_ROOM] = raw.ljust(TEXT_ROOM, b"\0")
        self.words[SEQUENCE] += 1

    # a reader's side

    def texts(self) -> dict[str, str]:
        """Return the texts, whole: tried again while they are being written."""
        for _ in range(1000):
            before = self.words[SEQUENCE]
            raw = self.map[TEXT_AT : TEXT_AT + TEXT_ROOM]
            if before % 2 == 0 and self.words[SEQUENCE] == before:
                break
            time.sleep(0.001)
        lines = raw.partition(b"\0")[0].decode(errors="surrogateescape").split("\n")
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def clients(self) -> Iterator[tuple[int, str, int, int, int, int]]:
        """Yield `(pid, peer, begun, last, bytes in, bytes out)` of each client; moments are in nanoseconds."""
        for number in range(min(self.words[TOP], SLOTS)):
            slot = (SLOTS_AT + number * SLOT) // 8
            pid, sent, received, last, begun = self.words[slot : slot + 5]
            if pid:
                at = slot * 8 + PEER_AT
                peer = self.map[at : at + PEER_ROOM].partition(b"\0")[0].decode(errors="replace")
                yield pid, peer, begun or monotonic_ns(), last or monotonic_ns(), received, sent
