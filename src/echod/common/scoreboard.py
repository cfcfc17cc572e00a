"""The scoreboard: counters and one slot a client in a shared file; the server and its children write, `status` reads.

    page 0         the counters, one 64-bit word each; the     the server writes
                   peer refused last; the version of echod
    pages 1 to 4   texts, a line each: key=value               the server writes
    from page 5    slots of 128 bytes, one a client            server: pid, peer; child: start, bytes, last move

Moments are nanoseconds of CLOCK_MONOTONIC. A word is written with one aligned store, so a reader never sees half of
one. While the server changes what belongs together the word SEQUENCE is odd, and readers try again (a seqlock). The
file has room for every `max_children` there can be; the file is allocated for that of the settings, so that no
store can fault. To the server it is mapped: a shared mapping costs a fork nothing, its page table is not copied.
"""

from __future__ import annotations

import time

from echod.common import reasons
from echod.common.cmodules import LONG, os
from echod.common.machine import take_room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

(
    MAGIC, PID, STARTED, START_TIME, STATE, PEAK, ACCEPTED, CLOSED, OVER_LIMIT, PER_SOURCE, ACCESS, PROXY, FORK_FAILED,
    BY_RESET, BY_IDLE, BY_LIFETIME, BY_DRAIN, BY_SIGNAL, BY_ERROR, BY_ACCESS, BYTES_IN, BYTES_OUT, LOG_LINES_LOST,
    FULL_SINCE, REFUSED_AT, REFUSED_WHY, GENERATION, MAX_CHILDREN, TOP, SEQUENCE,
    RELOADS_BEGUN, RELOADS_DONE, RELOAD_CODE, REOPENS_BEGUN, REOPENS_DONE, REOPEN_CODE, DRAIN_MS,
    UPGRADES_BEGUN, UPGRADES_DONE, UPGRADE_CODE,
) = range(40)  # fmt: skip

REFUSALS = dict(zip(reasons.REFUSALS, (OVER_LIMIT, PER_SOURCE, ACCESS, PROXY, FORK_FAILED), strict=True))
# Why clients ended. Those that ended with their FIN are all others that were closed: no counter costs them anything.
ENDS = {
    "reset": BY_RESET, "idle": BY_IDLE, "lifetime": BY_LIFETIME, "drain": BY_DRAIN, "signal": BY_SIGNAL,
    "error": BY_ERROR, "proxy": PROXY, "access": BY_ACCESS,
}  # fmt: skip

STARTING, RUNNING, DRAINING = range(3)
VERSION = 0x6563686F64_000003  # "echod", layout 3: whoever finds another one understands nothing of it
NEVER = -1

# A slot's words after the pid: bytes out and in, when a byte last moved, when the session began and ended. A session
# that has no scoreboard counts in a list of the same layout.
SENT, RECEIVED, LAST, BEGUN, ENDED = range(1, 6)
WORD_SIZE, SLOT, SLOTS_AT, TEXT_AT, TEXT_ROOM = 8, 128, 20 << 10, 4 << 10, 16 << 10
UNUSED_AT = 56  # in a slot: no word and no text is here
PEER_AT, PEER_ROOM = 64, 64  # in a slot: the peer as text, or where a child has crashed
REFUSED_PEER_AT, PROGRAM_AT, PROGRAM_ROOM = 1024, 1088, 64  # in page 0: texts that end with a zero, or with their room
WORD: Literal["l", "q"] = "l" if LONG == WORD_SIZE else "q"  # a `long` is the shorter way to store one in CPython
MOST_CHILDREN = 65536
SIZE = SLOTS_AT + MOST_CHILDREN * SLOT
TRIES, PAUSE = 200, 0.001  # of a reader; seconds


def allocate(fd: int, max_children: int) -> None:
    """Take the room for so many clients. Raises OSError: a store to a page without room would be SIGBUS.

    See posix_fallocate(3); the file keeps what it holds.
    """
    is_new = os.fstat(fd).st_size < SIZE
    take_room(fd, SLOTS_AT + max_children * SLOT, 0 if is_new else SLOTS_AT + UNUSED_AT)
    if is_new:
        os.ftruncate(fd, SIZE)


def initialize(fd: int, max_children: int) -> None:
    """Make a new file a scoreboard that says "starting", and of no process yet. Raises OSError."""
    allocate(fd, max_children)
    head = memoryview(bytearray(WORD_SIZE * (DRAIN_MS + 1))).cast("B").cast(WORD)
    head[MAGIC], head[GENERATION], head[DRAIN_MS] = VERSION, 1, NEVER
    os.pwrite(fd, head, 0)


class Scoreboard:
    """The shared file on the descriptor `fd`, for reading. Raises OSError, or ValueError where the file is none.

    It is not mapped: a file that its owner cuts short would end the reader (SIGBUS).
    """

    def __init__(self, fd: int) -> None:
        if os.fstat(fd).st_size < SLOTS_AT:
            raise ValueError("too short")
        self._fd = os.dup(fd)

    def __del__(self) -> None:
        """Close the file."""
        if hasattr(self, "_fd"):
            os.close(self._fd)

    @property
    def words(self) -> memoryview[int]:
        """The counters, as they are now."""
        return memoryview(os.pread(self._fd, SLOTS_AT, 0).ljust(SLOTS_AT, b"\0")).cast(WORD)

    def copy(self) -> Copy:
        """Return a copy in which all belongs together, as far as the server writes: tried again while it does."""
        for _ in range(TRIES):
            words = self.words
            raw = os.pread(self._fd, SLOTS_AT + max(0, min(words[TOP], MOST_CHILDREN)) * SLOT, 0)
            if words[SEQUENCE] % 2 == 0 and self.words[SEQUENCE] == words[SEQUENCE]:
                break
            time.sleep(PAUSE)
        return Copy(raw.ljust(SLOTS_AT, b"\0"))

    def texts(self) -> dict[str, str]:
        """Return the texts."""
        return self.copy().texts()


class Copy:
    """What the scoreboard held at one moment."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.words = memoryview(raw[: len(raw) - len(raw) % WORD_SIZE]).cast(WORD)

    def text(self, at: int, room: int = PEER_ROOM) -> str:
        """Return the text that has this room."""
        return self._raw[at : at + room].partition(b"\0")[0].decode(errors="replace")

    def ends(self) -> dict[str, int]:
        """Return how many clients have ended, by reason: all that are closed."""
        counts = {reason: self.words[word] for reason, word in ENDS.items()}
        return {"eof": self.words[CLOSED] - sum(counts.values()), **counts}

    def texts(self) -> dict[str, str]:
        """Return the texts."""
        raw = self._raw[TEXT_AT : TEXT_AT + TEXT_ROOM]
        lines = raw.partition(b"\0")[0].decode(errors="surrogateescape").split("\n")
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def clients(self) -> list[tuple[int, str, int, int, int, int]]:
        """Return `(pid, peer, begun, last, bytes in, bytes out)` of each client; moments are in nanoseconds."""
        found, now = [], time.monotonic_ns()
        for at in range(SLOTS_AT, len(self._raw) - SLOT + 1, SLOT):
            pid, sent, received, last, begun = self.words[at // WORD_SIZE : at // WORD_SIZE + 5]
            if pid:
                found.append((pid, self.text(at + PEER_AT), begun or now, last or now, received, sent))
        return found
