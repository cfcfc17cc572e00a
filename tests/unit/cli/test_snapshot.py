from __future__ import annotations

import json
import os
import re
import time

import pytest

from echod.cli.status import snapshot as status
from echod.common import scoreboard
from echod.common.scoreboard import LAST, RECEIVED, SENT, Scoreboard

LONG = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"


def enter(board, peer, pid):
    """Give a client a slot and enter its child, as `children` and the child do."""
    slot = board.take()
    board.words[slot + scoreboard.BEGUN] = board.words[slot + LAST] = time.monotonic_ns()
    board.enter(slot, pid, peer)
    return slot


@pytest.fixture
def board():
    """Return the board of a daemon that serves three clients."""
    board = Scoreboard(os.memfd_create("board"))
    board.words[scoreboard.STATE] = scoreboard.RUNNING
    board.words[scoreboard.MAX_CHILDREN] = 256
    board.words[scoreboard.ACCESS] = 1
    board.set_texts(listen="0.0.0.0:27978,[::]:27978", config_file="/etc/echod.conf", last_reload="ok")
    for pid, peer in ((4711, "192.0.2.7:51514"), (4194304, LONG), (9, "127.0.0.1:1")):
        slot = enter(board, peer, pid)
        board.words[slot + RECEIVED], board.words[slot + SENT] = 5, 3
    gone = enter(board, "127.0.0.1:2", 2)
    board.words[gone + RECEIVED] = board.words[gone + SENT] = 100
    board.leave(gone)
    return board


def test_a_snapshot_has_what_programs_rely_on(board):
    state = json.loads(json.dumps(status.snapshot(board)))
    children = state.pop("children")
    uptime = state.pop("uptime")
    assert uptime >= 0
    assert state == {
        "state": "running",
        "pid": os.getpid(),
        "listen": ["0.0.0.0:27978", "[::]:27978"],
        "clients": 3,
        "max_children": 256,
        "peak_clients": 4,
        "accepted": 4,
        "closed": 1,
        "refused": {"over_limit": 0, "per_source": 0, "access": 1, "fork_failed": 0},
        "bytes_in": 115,
        "bytes_out": 109,
        "generation": 1,
        "config_file": "/etc/echod.conf",
        "last_reload": "ok",
    }
    assert [(child["pid"], child["peer"]) for child in children] == [
        (4711, "192.0.2.7:51514"),
        (4194304, LONG),
        (9, "127.0.0.1:1"),
    ]
    assert {"pid", "peer", "age", "idle", "bytes_in", "bytes_out"} == set(children[0])


def test_ages_are_in_seconds_and_never_below_zero(board):
    slot = enter(board, "127.0.0.1:3", 3)
    board.words[slot + scoreboard.BEGUN] -= 2_000_000_000
    board.words[slot + LAST] += 3_600_000_000_000  # written by the child after we looked at the clock
    child = status.snapshot(board)["children"][-1]
    assert 2 <= child["age"] < 100
    assert child["idle"] == 0


@pytest.mark.parametrize(("word", "name"), list(enumerate(["starting", "running", "draining", "draining"])))
def test_the_state_has_a_name(board, word, name):
    board.words[scoreboard.STATE] = word
    assert status.snapshot(board)["state"] == name


def test_a_board_without_texts_can_be_shown():
    text = status.for_people(status.snapshot(Scoreboard(os.memfd_create("board"))))
    assert "no more" in text


def test_people_get_aligned_lines(board):
    lines = status.for_people(status.snapshot(board)).splitlines()
    facts, table = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert all(re.match(r"[a-z]{5,8} +\S", line) for line in facts)
    assert len({re.match(r"\w+ +", line).end() for line in facts}) == 1
    assert len({len(line) for line in table}) == 1, "columns that end at the same place"
    head, *rows = table
    assert head.split() == ["PID", "PEER", "AGE", "IDLE", "IN", "OUT"]
    for row in rows:
        assert row.index(row.split()[1]) == head.index("PEER")


def test_without_clients_there_is_no_table():
    board = Scoreboard(os.memfd_create("board"))
    assert "PID" not in status.for_people(status.snapshot(board))


def test_nothing_unprintable_reaches_the_terminal(board):
    board.set_texts(config_file="/etc/\x1b[2J\udcff\r.conf", last_reload="bad\ttext", listen="\x07")
    enter(board, "\x1b]0;title\x07", 5)
    text = status.for_people(status.snapshot(board))
    assert all(line.isprintable() for line in text.split("\n"))
    assert "/etc/?[2J??.conf" in text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1 << 20, "1.0 MiB"), (5 << 40, "5.0 TiB")],
)
def test_sizes_are_for_people(count, text):
    assert status.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0.2s"), (61, "1min 1s"), (3600, "1h 0min"), (90061, "1d 1h"), (59, "59.0s")]
)
def test_spans_are_for_people(seconds, text):
    assert status.span(seconds) == text
