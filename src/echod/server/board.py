"""The scoreboard's writer, the server. A slot is known by the number of its first word."""

from __future__ import annotations

import errno
import mmap
import sys
import time

from echod import __version__
from echod.common import scoreboard
from echod.common.cmodules import os
from echod.common.config.addresses import write_address
from echod.common.config.file import DEFAULT_PATH
from echod.common.items import encode, write_at
from echod.common.machine import take_room
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
    REFUSALS,
    REFUSED_AT,
    REFUSED_PEER_AT,
    REFUSED_WHY,
    SENT,
    SEQUENCE,
    SIZE,
    SLOT,
    SLOTS_AT,
    START_TIME,
    STARTED,
    TEXT_ROOM,
    TEXTS_AT,
    TEXTS_LENGTH,
    TOP,
    WORD,
    WORD_SIZE,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from echod.common.config.settings import Config
    from echod.common.launch import Launch
    from echod.common.succession import Succession

    Texts = dict[str, str | Sequence[str]]

OUTCOMES = {"last_reload": "never", "reopen": "ok", "upgrade": "ok"}
LISTS = "changes", "upgraded"  # settings that the last reload, and the last upgrade, have found changed
ITEM_BYTES = 16  # of a text: its key and what separates it
FREE = memoryview(bytes(WORD_SIZE * (ENDED + 1))).cast(WORD)


class Board:
    """The scoreboard on the descriptor `fd`, mapped for writing. `top`: how many slots were ever taken.

    Another process may have written to the file, so the server goes by its own memory: the words TOP and MAX_CHILDREN
    are for readers. `before` has the slots that the children of the previous version use.
    """

    def __init__(self, fd: int, before: Succession | None = None) -> None:
        self.map = mmap.mmap(fd, SIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self.words = memoryview(self.map).cast("B").cast(WORD)
        self.fd = fd
        self.top = before.slots if before else 0
        self._reserved = 0  # clients
        self._texts = scoreboard.texts_place(self.words)
        used = {slot for _, slot, _, _ in before.children} if before else set()
        self._free = [slot for slot in map(slot_at, range(self.top)) if slot not in used]
        self.words[PID] = os.getpid()
        if not self.words[STARTED]:  # a process that executes another version goes on with its scoreboard
            self.words[STARTED], self.words[START_TIME] = time.monotonic_ns(), time.time_ns()

    def reserve(self, max_children: int) -> None:
        """Take the room that so many clients need. Raises OSError."""
        if max_children > self._reserved:
            scoreboard.allocate(self.fd, max_children)
            self._reserved = max_children

    def take(self) -> int:
        """Take the next slot, for good."""
        if self._free:
            return self._free.pop()
        number = self.top
        self.top = self.words[TOP] = number + 1
        return slot_at(number)

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

    def reserve_texts(self, *more: str) -> None:
        """Take the room for the texts and for `more`, and for as much that replaces them. Raises OSError."""
        begin, end = self._texts
        length = end - begin + TEXT_ROOM // 2 + sum(len(text.encode(errors="replace")) + ITEM_BYTES for text in more)
        at = self._place(length)
        take_room(self.fd, at, at + 2 * length, max(at, end))  # what is before the end was written once

    def set_texts(self, **texts: str | Sequence[str]) -> None:
        """Replace the texts. A sequence is a list. Raises OSError if the disk has no room: the previous ones stay."""
        lists = {key: [value] if isinstance(value, str) else value for key, value in texts.items()}
        data = encode([f"{key}={text}".replace("\0", " ") for key, values in lists.items() for text in values])
        if len(data) > scoreboard.LONGEST_TEXTS or data.count(b"\0") > scoreboard.MOST_TEXTS:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        at = self._place(len(data))
        write_at(self.fd, data, at)
        self._texts = at, at + len(data)
        self.begin()
        self.words[TEXTS_AT], self.words[TEXTS_LENGTH] = at, len(data)
        self.end()

    def _place(self, length: int) -> int:
        """Return where so many bytes overwrite none of the texts: before them if there is room, or else after them.

        Every byte before the end of the texts was written once, so it has its room on the disk.
        """
        begin, end = self._texts
        return SIZE if SIZE + length <= begin else end


def slot_at(number: int) -> int:
    """Return the first word of the slot with this number."""
    return (SLOTS_AT + number * SLOT) // WORD_SIZE


def reserve(board: Board, launch: Launch, max_children: int, *texts: str) -> None:
    """Take the room for so many clients, and for the current texts and these. Raises OSError, with the path."""
    try:
        board.reserve(max_children)
        board.reserve_texts(*texts)
    except OSError as error:
        raise OSError(error.errno, error.strerror, launch.board_file) from None


def outcomes(board: Board) -> Texts:
    """Return how the last requests have ended, including those to the previous version."""
    copy = scoreboard.Scoreboard(board.fd).copy()
    texts = copy.texts()
    return {key: texts.get(key, default) for key, default in OUTCOMES.items()} | {key: copy.all(key) for key in LISTS}


def publish(board: Board, config: Config, launch: Launch, names: Sequence[str], found: Texts) -> None:
    """Write what is in effect. Raises OSError if the disk has no room for the texts."""
    drain = config.drain_timeout
    board.words[MAX_CHILDREN] = config.max_children
    board.words[scoreboard.DRAIN_MS] = scoreboard.NEVER if drain is None else round(drain * 1000)
    board.set_texts(
        version=__version__,
        program=sys.argv[0],
        listen=names,
        addresses=list(map(write_address, config.listen)),
        config_file=launch.config_file or DEFAULT_PATH,
        overrides=launch.overrides,
        **found,
    )
