"""Scoreboards as the server makes them."""

from __future__ import annotations

import os
import time

from echod.common import scoreboard
from echod.server.board import Board


class ReadableBoard(Board):
    """A board that can be read as by `status`."""

    first = 0  # the slot of the first client, for who wants to know it

    def __init__(self, fd):
        super().__init__(fd)
        self.reader = scoreboard.Scoreboard(fd)
        self.copy, self.texts = self.reader.copy, self.reader.texts
        self.fd = self.reader._fd  # which is closed with this board


def new_board(path=None):
    """Return a new scoreboard, mapped for writing, of this process and 256 clients: a file, or one without a name."""
    fd = os.memfd_create("board") if path is None else os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    scoreboard.initialize(fd, 256)
    board = ReadableBoard(fd)
    os.close(fd)
    return board


def record(board, peer, pid):
    """Give a client a slot and record its child, as `children` and the child do; return the slot."""
    slot: int = board.take()
    board.words[slot + scoreboard.BEGUN] = board.words[slot + scoreboard.LAST] = time.monotonic_ns()
    board.begin()
    board.record(slot, pid, peer)
    board.end()
    return slot
