"""What the tests of `status` share: the board of a daemon that serves three clients."""

from __future__ import annotations

import pytest

from echod import __version__
from echod.common import scoreboard
from echod.common.scoreboard import RECEIVED, SENT
from support.board import new_board, record

LONG_PEER = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"


@pytest.fixture
def board():
    """Return the board of a daemon that serves three clients."""
    board = new_board()
    board.words[scoreboard.STATE] = scoreboard.RUNNING
    board.words[scoreboard.MAX_CHILDREN] = 256
    board.words[scoreboard.ACCESS] = 1
    board.set_texts(
        listen=["0.0.0.0:27978", "[::]:27978"],
        version=__version__,
        config_file="/etc/echod.conf",
        last_reload="ok",
        overrides=["log=none", "backlog=7"],
    )
    for pid, peer in ((4711, "192.0.2.7:51514"), (4194304, LONG_PEER), (9, "127.0.0.1:1")):
        slot = record(board, peer, pid)
        board.words[slot + RECEIVED], board.words[slot + SENT] = 5, 3
        board.first = board.first or slot
    gone = record(board, "127.0.0.1:2", 2)
    board.words[gone + RECEIVED] = board.words[gone + SENT] = 100
    board.remove(gone)
    board.words[scoreboard.PEAK] = 4
    return board
