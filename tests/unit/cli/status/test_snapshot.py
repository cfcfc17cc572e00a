from __future__ import annotations

import json
import os
import re

import pytest

from echod import __version__
from echod.cli.status.snapshot import snapshot
from echod.common import scoreboard
from echod.common.scoreboard import LAST
from support.board import record
from support.daemon import SOURCE

ENDS = ("eof", "reset", "idle", "lifetime", "drain", "signal", "error", "proxy", "access")
LONG_PEER = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"


def test_a_snapshot_has_what_programs_rely_on(board):
    state = json.loads(json.dumps(snapshot(board.copy())))
    children = state.pop("children")
    uptime = state.pop("uptime")
    assert uptime >= 0
    assert state == {
        "state": "running",
        "version": __version__,
        "pid": os.getpid(),
        "listen": ["0.0.0.0:27978", "[::]:27978"],
        "clients": 3,
        "max_children": 256,
        "peak_clients": 4,
        "full_for": None,
        "accept_queue": 0,
        "accepted": 4,
        "closed": 1,
        "ended": dict(zip(ENDS, [1, *[0] * 8], strict=True)),
        "refused": {"over_limit": 0, "per_source": 0, "access": 1, "proxy": 0, "fork_failed": 0},
        "last_refused": None,
        "bytes_in": 115,
        "bytes_out": 109,
        "generation": 1,
        "config_file": "/etc/echod.conf",
        "overrides": ["log=none", "backlog=7"],
        "last_reload": "ok",
        "log_lines_lost": 0,
    }
    assert [(child["pid"], child["peer"]) for child in children] == [
        (4711, "192.0.2.7:51514"),
        (4194304, LONG_PEER),
        (9, "127.0.0.1:1"),
    ]
    assert {"pid", "peer", "age", "idle", "bytes_in", "bytes_out"} == set(children[0])


def test_the_manual_lists_what_programs_rely_on(board):
    listed: set[str] = set()
    for line in (SOURCE.parent.parent / "man" / "echod.8").read_text().splitlines():
        if line.startswith((".It Va ", ".Va ")):
            listed |= set(re.findall(r"[a-z_]+", line.partition("Va ")[2]))
    state = snapshot(board.copy())
    assert listed >= set(state) | set(state["children"][0])


def test_ages_are_in_seconds_and_never_below_zero(board):
    slot = record(board, "127.0.0.1:3", 3)
    board.words[slot + scoreboard.BEGUN] -= 2_000_000_000
    board.words[slot + LAST] += 3_600_000_000_000  # written by the child after we looked at the clock
    child = snapshot(board.copy())["children"][-1]
    assert 2 <= child["age"] < 100
    assert child["idle"] == 0


@pytest.mark.parametrize(("word", "name"), list(enumerate(["starting", "running", "draining", "draining"])))
def test_the_state_has_a_name(board, word, name):
    board.words[scoreboard.STATE] = word
    assert snapshot(board.copy())["state"] == name
