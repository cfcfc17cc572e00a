from __future__ import annotations

import re

import pytest

from echod.cli.status import text as people
from echod.cli.status.snapshot import snapshot
from support.board import new_board, record


def test_a_board_without_texts_can_be_shown():
    text = people.for_people(snapshot(new_board().copy()))
    assert "no more" in text


def test_people_get_aligned_lines(board):
    lines = people.for_people(snapshot(board.copy())).splitlines()
    facts, table = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert all(re.match(r"[a-z]{5,8} +\S", line) for line in facts)
    assert len({re.match(r"\w+ +", line).end() for line in facts}) == 1
    assert len({len(line) for line in table}) == 1, "columns that end at the same place"
    head, *rows = table
    assert head.split() == ["PID", "PEER", "AGE", "IDLE", "IN", "OUT"]
    for row in rows:
        assert row.index(row.split()[1]) == head.index("PEER")


def test_without_clients_there_is_no_table():
    board = new_board()
    assert "PID" not in people.for_people(snapshot(board.copy()))


def test_nothing_unprintable_reaches_the_terminal(board):
    board.set_texts(config_file="/etc/\x1b[2J\udcff\r.conf", last_reload="bad\ttext", listen="\x07")
    record(board, "\x1b]0;title\x07", 5)
    text = people.for_people(snapshot(board.copy()))
    assert all(line.isprintable() for line in text.split("\n"))
    assert r"/etc/\x1b[2J\udcff\r.conf" in text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1 << 20, "1.0 MiB"), (5 << 40, "5.0 TiB")],
)
def test_sizes_are_for_people(count, text):
    assert people.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0.2s"), (61, "1min 1s"), (3600, "1h 0min"), (90061, "1d 1h"), (59, "59.0s")]
)
def test_spans_are_for_people(seconds, text):
    assert people.span(seconds) == text
