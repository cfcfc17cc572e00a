from __future__ import annotations

import os

import pytest

from echod.common.reasons import FORK_FAILED, OVER_LIMIT
from echod.common.scoreboard import REFUSALS, REFUSED_PEER_AT, REFUSED_WHY, SEQUENCE, Scoreboard
from echod.server.admission import refuse
from support.sockets import make_board, memory_log

PEER = ("192.0.2.1", 7)


@pytest.fixture
def board():
    board = make_board()
    yield board
    os.close(board.fd)


@pytest.mark.parametrize("why", [OVER_LIMIT, FORK_FAILED])
def test_a_refused_client_is_counted_and_is_the_last_one(board, why):
    log, _ = memory_log()
    before = board.words[SEQUENCE]
    refuse(board, log, PEER, why)
    assert board.words[REFUSALS[why]] == 1
    assert board.words[REFUSED_WHY] == REFUSALS[why]
    assert Scoreboard(board.fd).copy().text(REFUSED_PEER_AT) == "192.0.2.1:7"
    assert board.words[SEQUENCE] == before + 2, "a reader sees all of it or nothing"


def test_it_is_logged_at_a_limited_rate_for_each_reason_and_source(board):
    log, lines = memory_log()
    for why in (OVER_LIMIT, OVER_LIMIT, FORK_FAILED):
        refuse(board, log, PEER, why)
    refuse(board, log, ("198.51.100.1", 7), OVER_LIMIT)
    assert lines.texts == [
        "refuse peer=192.0.2.1:7 reason=over_limit",
        "refuse peer=192.0.2.1:7 reason=fork_failed",
        "refuse peer=198.51.100.1:7 reason=over_limit",
    ]
