from __future__ import annotations

import pytest

from echod.common.config.file import DEFAULT_PATH
from echod.common.launch import Launch
from echod.common.scoreboard import DRAIN_MS, MAX_CHILDREN, NEVER, Scoreboard
from echod.server.board import OUTCOMES, outcomes, publish
from support.sockets import make_board, settings


@pytest.mark.parametrize(("drain", "milliseconds"), [("250ms", 250), ("never", NEVER), ("0s", 0)])
def test_what_is_in_force(drain, milliseconds):
    board, launch = make_board(), Launch(overrides=("a=1", "b=2"))
    publish(board, settings(f"drain_timeout={drain}", "max_children=7"), launch, "127.0.0.1:7", dict(OUTCOMES))
    assert (board.words[MAX_CHILDREN], board.words[DRAIN_MS]) == (7, milliseconds)
    texts = Scoreboard(board.fd).texts()
    assert (texts["listen"], texts["addresses"], texts["overrides"]) == ("127.0.0.1:7", "*:27978", "a=1\tb=2")
    assert texts["config_file"] == DEFAULT_PATH


def test_outcomes_outlive_an_upgrade():
    board = make_board()
    assert outcomes(board) == OUTCOMES
    found = OUTCOMES | {"last_reload": "failed", "changes": "a\tb"}
    publish(board, settings(), Launch(), "", found)
    assert outcomes(board) == found
