from __future__ import annotations

import sys

import pytest

from echod import __version__
from echod.common.config.file import DEFAULT_PATH
from echod.common.launch import Launch
from echod.common.scoreboard import DRAIN_MS, MAX_CHILDREN, NEVER, Scoreboard
from echod.server.board import OUTCOMES, outcomes, publish
from support.sockets import make_board, settings


@pytest.mark.parametrize(("drain", "milliseconds"), [("250ms", 250), ("never", NEVER), ("0s", 0)])
def test_what_is_in_force(drain, milliseconds):
    board, launch = make_board(), Launch(overrides=("a=1", "b=2"))
    publish(board, settings(f"drain_timeout={drain}", "max_children=7"), launch, ["127.0.0.1:7"], dict(OUTCOMES))
    assert (board.words[MAX_CHILDREN], board.words[DRAIN_MS]) == (7, milliseconds)
    copy = Scoreboard(board.fd).copy()
    assert (copy.listen(), copy.addresses(), copy.overrides()) == (["127.0.0.1:7"], ["*:27978"], ["a=1", "b=2"])
    assert copy.texts()["config_file"] == DEFAULT_PATH
    assert copy.version() == __version__
    assert copy.texts()["program"] == sys.argv[0]


def test_outcomes_outlive_an_upgrade():
    board = make_board()
    assert outcomes(board) == OUTCOMES | {"changes": [], "upgraded": []}
    found = OUTCOMES | {"last_reload": "failed", "changes": ["a\tb", "c\nd"], "upgraded": ["e"]}
    publish(board, settings(), Launch(), [], found)
    assert outcomes(board) == found
