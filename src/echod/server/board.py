"""The scoreboard's writer, the server. A slot is known by the number of its first word."""

from __future__ import annotations

import mmap
import time

from echod import __version__
from echod.common import scoreboard
from echod.common.cmodules import os
from echod.common.config.file import DEFAULT_PATH
from echod.common.reasons import PROXY, REASONS
from echod.common.scoreboard import (
    ACCEPTED,
    BY_ERROR,
    BYTES_IN,
    BYTES_OUT,
    CLOSED,
    ENDED,
    ENDS,
    MAX_CHILDREN,
    PEAK,
    PEER_AT,
    PEER_ROOM,
    PID,
    PROGRAM_AT,
    PROGRAM_ROOM,
    REFUSALS,
    REFUSED_AT,
    REFUSED_PEER_AT,
    REFUSED_WHY,
    SENT,
    SEQUENCE,
    SLOT,
    SLOTS_AT,
    START_TIME,
    STARTED,
    TEXT_AT,
    TEXT_ROOM,
    TOP,
    WORD,
    WORD_SIZE,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.common.config.settings import Config
    from echod.common.launch import Launch

OUTCOMES = {"last_reload": "never", "reopen": "ok", "upgrade": "ok", "changes": ""}  # the last may be cut
FREE = memoryview(bytes(WORD_SIZE * (ENDED + 1))).cast(WORD)


class Board:
    """The scoreboard on the descriptor `fd`, mapped for writing."""

    def __init__(self, fd: int) -> None:
        self.map = mmap.mmap(fd, scoreboard.SIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self.words = memoryview(self.map).cast("B").cast(WORD)
        self.fd = fd
        slots = range(SLOTS_AT // WORD_SIZE, (SLOTS_AT + self.words[TOP] * SLOT) // WORD_SIZE, SLOT // WORD_SIZE)
        self._free = [slot for slot in slots if not self.words[slot]]  # of the version before
        self.words[PID] = os.getpid()
        if not self.words[STARTED]:  # a process that executes another version goes on with its scoreboard
            self.words[STARTED], self.words[START_TIME] = time.monotonic_ns(), time.time_ns()
        self._write(PROGRAM_AT, PROGRAM_ROOM, __version__)

    def reserve(self, max_children: int) -> None:
        """Take the room that so many clients need. Raises OSError."""
        if max_children > self.words[MAX_CHILDREN]:
            scoreboard.allocate(self.fd, max_children)

    def take(self) -> int:
        """Take the next slot, for good."""
        if self._free:
            return self._free.pop()
        number = self.words[TOP]
        self.words[TOP] = number + 1
        return (SLOTS_AT + number * SLOT) // WORD_SIZE

    def begin(self) -> None:
        """Begin to change what belongs together; `end` ends it."""
        self.words[SEQUENCE] += 1

    end = begin

    def record(self, slot: int, pid: int, peer: str) -> None:
        """Count a client, and name the child that has its slot, and its peer where it has no text yet.

        Between `begin` and `end`.
        """
        if peer and not self.map[slot * WORD_SIZE + PEER_AT]:  # or its child has crashed meanwhile, and says where
            self.write_text(slot, peer)
        self.words[slot] = pid
        self.words[ACCEPTED] += 1

    def write_text(self, slot: int, text: str) -> None:
        """Write the text of a slot: the peer, or where its child has crashed."""
        self._write(slot * WORD_SIZE + PEER_AT, PEER_ROOM, text)

    def _write(self, at: int, room: int, text: str) -> None:
        self.map[at : at + room] = text.encode(errors="replace")[: room - 1].ljust(room, b"\0")

    def read_text(self, slot: int) -> str:
        """Return the text of a slot."""
        at = slot * WORD_SIZE + PEER_AT
        return self.map[at : at + PEER_ROOM].partition(b"\0")[0].decode(errors="replace")

    def remove(self, slot: int) -> tuple[int, int, int, int]:
        """Count out a client that has exited; returns its bytes in and out, when it began and when it ended.

        Moments are nanoseconds, 0 where the child did not come so far. Between `begin` and `end`.
        """
        words = self.words
        sent, received, _, begun, ended = words[slot + SENT : slot + ENDED + 1]
        self.clear(slot)
        words[BYTES_IN] += received
        words[BYTES_OUT] += sent
        words[CLOSED] += 1
        return received, sent, begun, ended

    def count_end(self, reason: str, peer: str) -> None:
        """Count why a client ended, if it was not its FIN: see `reasons.reason_of`. Between `begin` and `end`."""
        kind = reason.partition("=")[0]
        if kind in REFUSALS:
            self.count_refusal(kind, peer)
        if kind != REASONS[PROXY]:  # whose word is counted already: only a child refuses for that
            self.words[ENDS.get(kind, BY_ERROR)] += 1

    def count_refusal(self, reason: str, peer: str) -> None:
        """Count a client that is closed unserved, and remember it as the last. Between `begin` and `end`."""
        self.words[REFUSALS[reason]] += 1
        self.words[REFUSED_AT], self.words[REFUSED_WHY] = time.monotonic_ns(), REFUSALS[reason]
        self._write(REFUSED_PEER_AT, PEER_ROOM, peer)

    def clear(self, slot: int) -> None:
        """Have a slot say that it is free."""
        self.words[slot : slot + ENDED + 1] = FREE
        self.map[slot * WORD_SIZE + PEER_AT] = 0

    def raise_peak(self, clients: int, begun: list[int], ended: list[int]) -> None:
        """Remember how many clients were there at once, from `clients` on; some began and ended, at these moments."""
        if clients + len(begun) <= self.words[PEAK]:
            return
        begun.sort()
        ended.sort()
        gone = 0
        for moment in begun:
            clients += 1
            while gone < len(ended) and ended[gone] <= moment:
                gone += 1
            self.words[PEAK] = max(self.words[PEAK], clients - gone)

    def answer(self, begun: int, code: int) -> None:
        """Say how a request ended, after all that was asked for is written; `begun` is the word that numbers it."""
        done = begun + 1  # the words of a request: begun, done, code
        self.words[done + 1] = code
        self.words[done] = self.words[begun]

    def drain_timeout(self) -> float | None:
        """Return the setting in force, in seconds, None for never: a child asks for it when it is told to end."""
        milliseconds = self.words[scoreboard.DRAIN_MS]
        return None if milliseconds == scoreboard.NEVER else milliseconds / 1000

    def set_texts(self, **texts: str) -> None:
        """Replace the texts; what does not fit is cut."""
        lines = "\n".join(f"{key}={value.translate({10: ' '})}" for key, value in texts.items())
        raw = lines.encode(errors="surrogateescape")[: TEXT_ROOM - 1]  # a path need not be UTF-8
        self.begin()
        self.map[TEXT_AT : TEXT_AT + TEXT_ROOM] = raw.ljust(TEXT_ROOM, b"\0")
        self.end()


def outcomes(board: Board) -> dict[str, str]:
    """Return how the last requests have ended: those to the version before this one, too."""
    texts = scoreboard.Scoreboard(board.fd).texts()
    return {key: texts.get(key, default) for key, default in OUTCOMES.items()}


def publish(board: Board, config: Config, launch: Launch, names: str, found: dict[str, str]) -> None:
    """Write it."""
    drain = config.drain_timeout
    board.words[MAX_CHILDREN] = config.max_children
    board.words[scoreboard.DRAIN_MS] = scoreboard.NEVER if drain is None else round(drain * 1000)
    board.set_texts(
        listen=names,
        addresses=config.text("listen"),
        config_file=launch.config_file or DEFAULT_PATH,
        overrides="\t".join(launch.overrides),
        **found,
    )
