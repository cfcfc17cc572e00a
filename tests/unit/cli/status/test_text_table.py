from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.cli.status.text import TABLE_LEAST_LINES, cut, table

LONG_PEER = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"
COUNT = st.integers(0, 1 << 62)
SECONDS = st.floats(0, 1e9)
CHILD = st.fixed_dictionaries(
    {
        "pid": st.integers(1, 1 << 22),
        "peer": st.sampled_from(["192.0.2.7:51514", LONG_PEER, "[fe80::1%averylongname01]:1", "", "\x1b]0;t\x07\n"]),
        "age": SECONDS,
        "idle": SECONDS,
        "bytes_in": COUNT,
        "bytes_out": COUNT,
    }
)


def child(pid=1, peer="192.0.2.7:51514", **changed):
    return {"pid": pid, "peer": peer, "age": 3.2, "idle": 0.1, "bytes_in": 5, "bytes_out": 5} | changed


@given(st.lists(CHILD, max_size=30), st.integers(1, 210), st.integers(-3, 60), st.booleans())
def test_it_is_never_wider_than_the_terminal_nor_longer(children, columns, lines, rates):
    if rates:
        children = [child | {"rate": float(child["pid"])} for child in children]
    shown = table(children, columns, lines)
    assert len(shown) <= max(0, lines)
    assert all(len(line) <= columns and line.isprintable() for line in shown)
    if children and lines >= TABLE_LEAST_LINES:
        left_out = int(shown[-1].split()[1]) if len(shown) != len(children) + 2 and columns > 20 else 0
        assert columns <= 20 or len(shown) == (lines if left_out else len(children) + 2)


@pytest.mark.parametrize("columns", [None, 80, 200])
def test_columns_are_aligned(columns):
    rows = [child(4194304, LONG_PEER), child(9, "127.0.0.1:1", bytes_in=5 << 40, age=90000.0), child(4711)]
    blank, head, *lines = table(rows, columns, None)
    assert blank == ""
    assert head.split() == ["PID", "PEER", "AGE", "IDLE", "IN", "OUT"]
    assert len({len(line) for line in [head, *lines]}) == 1, "columns that end at the same place"
    for line in lines:
        assert line.index(line.split()[1]) == head.index("PEER")
    assert columns == 80 or LONG_PEER in "\n".join(lines)


def test_the_busiest_come_first():
    quiet, much, lately, now = (
        child(1, idle=9.0),
        child(2, bytes_in=7),
        child(3, idle=5.0),
        child(4),
    )
    assert [line.split()[0] for line in table([quiet, lately, much, now], None, None)[2:]] == ["2", "4", "3", "1"]
    rates = [one | {"rate": rate} for one, rate in ((quiet, 5.0), (much, 0.0), (lately, 7.0))]
    assert [line.split()[0] for line in table(rates, None, None)[2:]] == ["3", "1", "2"]


def test_what_does_not_fit_is_left_out_and_counted():
    many = [child(pid, bytes_in=pid) for pid in range(1, 31)]
    lines = table(many, None, 10)
    assert len(lines) == 10
    assert lines[2].split()[0] == "30"
    assert lines[-1] == "and 23 more"
    assert len(table(many, None, 32)) == 32
    assert table(many, None, TABLE_LEAST_LINES - 1) == []
    assert table([], 80, 24) == []


def test_a_narrow_terminal_has_fewer_columns():
    one = child(4711, LONG_PEER, rate=3.0)
    heads = [table([one], columns, None)[1].split() for columns in (120, 55, 45, 24)]
    assert heads == [
        ["PID", "PEER", "AGE", "IDLE", "IN", "OUT", "RATE"],
        ["PID", "PEER", "AGE", "IDLE", "IN", "RATE"],
        ["PID", "PEER", "IDLE", "IN", "RATE"],
        ["PEER"],
    ]


def test_an_address_that_is_cut_keeps_its_port():
    assert cut("192.0.2.7:51514", 15) == "192.0.2.7:51514"
    assert cut(LONG_PEER, 24) == "[2001:db8:1111:..]:65535"
    assert [cut("abcdef", width) for width in (0, 1, 2, 3, 5)] == ["", ".", "..", "..f", "a..ef"]


def test_nothing_unprintable_reaches_the_terminal():
    assert table([child(5, "\x1b]0;title\x07\n")], None, None)[2].split()[1] == r"\x1b]0;title\x07"
