"""The scoreboard: counters and one slot a client in a shared file; the server and its children write, `status` reads.

    page 0         the counters, one 64-bit word each; the     the server writes
                   peer refused last
    from page 1    slots of 128 bytes, one a client            server: pid, peer; child: start, bytes, last move
    from SIZE on   texts of any length (see `items`)           the server writes

Moments are nanoseconds of CLOCK_MONOTONIC. A word has 64 bits, on 32-bit machines too. If a C long has as many, a word
is written with one aligned store, and a reader never sees half of one. While the server changes what belongs together
the word SEQUENCE is odd, and readers try again (a seqlock). The file has room for every `max_children` there can be; it
is allocated for that of the settings, so that no store can fault. To the server it is mapped up to SIZE: a shared
mapping costs a fork nothing, its page table is not copied.

Texts are not mapped. New ones are written next to the current ones, and then two words say where they are. So a reader
never sees half of them, and if the disk is full, the previous ones stay.

The daemon's user may write to this file, and root reads it: a reader believes no number. `Copy` bounds what it returns;
who prints a text escapes it (`errors.printable`).
"""

from __future__ import annotations

import time

from echod.common import reasons
from echod.common.cmodules import LONG, os
from echod.common.errors import DONE, FAILED, NOT_RUNNING, printable
from echod.common.items import decode
from echod.common.machine import take_room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

(
    MAGIC, PID, STARTED, START_TIME, STATE, PEAK, ACCEPTED, CLOSED, OVER_LIMIT, PER_SOURCE, ACCESS, PROXY, FORK_FAILED,
    BY_RESET, BY_IDLE, BY_LIFETIME, BY_DRAIN, BY_SIGNAL, BY_ERROR, BY_ACCESS, BYTES_IN, BYTES_OUT, LOG_LINES_LOST,
    FULL_SINCE, REFUSED_AT, REFUSED_WHY, GENERATION, MAX_CHILDREN, TOP, SEQUENCE,
    RELOADS_BEGUN, RELOADS_DONE, RELOAD_CODE, REOPENS_BEGUN, REOPENS_DONE, REOPEN_CODE, DRAIN_MS,
    UPGRADES_BEGUN, UPGRADES_DONE, UPGRADE_CODE, TEXTS_AT, TEXTS_LENGTH,
) = range(42)  # fmt: skip

REFUSALS = dict(zip(reasons.REFUSALS, (OVER_LIMIT, PER_SOURCE, ACCESS, PROXY, FORK_FAILED), strict=True))
# Why clients ended. Those that ended with their FIN are all others that were closed: no counter costs them anything.
ENDS = {
    "reset": BY_RESET, "idle": BY_IDLE, "lifetime": BY_LIFETIME, "drain": BY_DRAIN, "signal": BY_SIGNAL,
    "error": BY_ERROR, "proxy": PROXY, "access": BY_ACCESS,
}  # fmt: skip

STARTING, RUNNING, DRAINING = range(3)
VERSION = 0x6563686F64_000004  # "echod", layout 4: whoever finds another one understands nothing of it
NEVER = -1

# A slot's words after the pid: bytes out and in, when a byte last moved, when the session began and ended. A session
# that has no scoreboard counts in a list of the same layout.
SENT, RECEIVED, LAST, BEGUN, ENDED = range(1, 6)
WORD_SIZE = 8
SLOT = 128
SLOTS_AT = 4 << 10
UNUSED_AT = 56  # in a slot: no word and no text is here
PEER_AT, PEER_ROOM = 64, 64  # in a slot: the peer as text, or where a child has crashed
REFUSED_PEER_AT = 1024  # in page 0
WORD: Literal["l", "q"] = "l" if LONG == WORD_SIZE else "q"  # a `long` is the shorter way to store one in CPython
MOST_CHILDREN = 65536
SIZE = SLOTS_AT + MOST_CHILDREN * SLOT
TEXT_ROOM = 8 << 10  # allocated at a start for the texts, and as much for those that replace them
LONGEST_TEXTS = 16 << 20  # bytes; a command line and a config file hold less
MOST_TEXTS = 1 << 17
LAST_TEXTS_AT = SIZE + 4 * LONGEST_TEXTS
LONGEST_VERSION = 64
LONGEST_PORT = 5
TRIES, PAUSE = 200, 0.001  # of a reader; seconds


def allocate(fd: int, max_children: int) -> None:
    """Take the room for so many clients. Raises OSError: a store to a page without room would be SIGBUS.

    See posix_fallocate(3); the file keeps what it holds.
    """
    is_new = os.fstat(fd).st_size < SIZE
    take_room(fd, 0, SLOTS_AT + max_children * SLOT, 0 if is_new else SLOTS_AT + UNUSED_AT)
    if is_new:
        os.ftruncate(fd, SIZE)


def space(max_children: int) -> int:
    """Return how many bytes of a file system a new scoreboard takes."""
    return SLOTS_AT + max_children * SLOT + 2 * TEXT_ROOM


def initialize(fd: int, max_children: int, pid: int = 0) -> None:
    """Make a new file a scoreboard that says "starting", of a process that is about to serve. Raises OSError."""
    allocate(fd, max_children)
    take_room(fd, SIZE, SIZE + 2 * TEXT_ROOM, SIZE)
    head = memoryview(bytearray(WORD_SIZE * (DRAIN_MS + 1))).cast("B").cast(WORD)
    head[MAGIC], head[PID], head[GENERATION], head[DRAIN_MS] = VERSION, pid, 1, NEVER
    os.pwrite(fd, head, 0)


def texts_place(words: memoryview[int]) -> tuple[int, int]:
    """Return where the texts begin and end. Words that cannot be right stand for no texts."""
    at, length = words[TEXTS_AT], words[TEXTS_LENGTH]
    return (at, at + length) if SIZE <= at <= LAST_TEXTS_AT and 0 < length <= LONGEST_TEXTS else (SIZE, SIZE)


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
            begin, end = texts_place(words)
            texts = os.pread(self._fd, end - begin, begin)
            if words[SEQUENCE] % 2 == 0 and self.words[SEQUENCE] == words[SEQUENCE]:
                break
            time.sleep(PAUSE)
        return Copy(raw.ljust(SLOTS_AT, b"\0"), texts)

    def texts(self) -> dict[str, str]:
        """Return the texts: see `Copy.texts`."""
        return self.copy().texts()


class Copy:
    """What the scoreboard held at one moment."""

    def __init__(self, raw: bytes, texts: bytes = b"") -> None:
        self._raw = raw
        self.words = memoryview(raw[: len(raw) - len(raw) % WORD_SIZE]).cast(WORD)
        self._lists: dict[str, list[str]] = {}
        try:
            items = decode(texts) if texts.count(b"\0") <= MOST_TEXTS else []
        except ValueError:  # the server has written none yet, or another process has overwritten them
            items = []
        for item in items:
            key, _, text = item.partition("=")
            self._lists.setdefault(key, []).append(text)

    def text(self, at: int, room: int = PEER_ROOM) -> str:
        """Return the text that has this room."""
        return self._raw[at : at + room].partition(b"\0")[0].decode(errors="replace")

    def ends(self) -> dict[str, int]:
        """Return how many clients have ended, by reason: all that are closed."""
        counts = {reason: self.words[word] for reason, word in ENDS.items()}
        return {"eof": self.words[CLOSED] - sum(counts.values()), **counts}

    def texts(self) -> dict[str, str]:
        """Return the texts by their keys. For a list they have its elements with commas between them: see `all`."""
        return {key: ",".join(texts) for key, texts in self._lists.items()}

    def all(self, key: str) -> list[str]:
        """Return the elements of a list."""
        return self._lists.get(key, [])

    def overrides(self) -> list[str]:
        """Return the options KEY=VALUE that the daemon was started with."""
        return self.all("overrides")

    def addresses(self) -> list[str]:
        """Return the elements of the setting `listen` that is in effect."""
        return self.all("addresses")

    def listen(self) -> list[str]:
        """Return the names of the listeners, each of which ends with a port."""
        ports = ((name, name.rpartition(":")[2]) for name in self.all("listen"))
        return [name for name, port in ports if port.isascii() and port.isdigit() and len(port) <= LONGEST_PORT]

    def changes(self) -> list[str]:
        """Return a line for each setting that the last reload has found changed."""
        return self.all("changes")

    def upgraded(self) -> list[str]:
        """Return a line for each setting that the last upgrade has found changed."""
        return self.all("upgraded")

    def version(self) -> str:
        """Return the version of echod that serves."""
        return printable(self.texts().get("version", ""))[:LONGEST_VERSION].replace("\n", " ")

    def code(self, word: int) -> int:
        """Return how a request has ended, as an exit code."""
        return self.words[word] if DONE <= self.words[word] <= NOT_RUNNING else FAILED

    def clients(self) -> list[tuple[int, str, int, int, int, int]]:
        """Return `(pid, peer, begun, last, bytes in, bytes out)` of each client; moments are in nanoseconds."""
        found, now = [], time.monotonic_ns()
        for at in range(SLOTS_AT, len(self._raw) - SLOT + 1, SLOT):
            pid, sent, received, last, begun = self.words[at // WORD_SIZE : at // WORD_SIZE + 5]
            if pid:
                found.append((pid, self.text(at + PEER_AT), begun or now, last or now, received, sent))
        return found
