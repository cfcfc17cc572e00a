from __future__ import annotations

import os
import pty
import re
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.cli.status import text as people
from echod.cli.status.snapshot import snapshot
from support.board import new_board, record


def fact(text, label):
    return next(line.partition(label)[2].strip() for line in text.splitlines() if line.startswith(label))


def test_a_board_without_texts_can_be_shown():
    text = people.for_people(snapshot(new_board().copy()))
    assert fact(text, "listen") == "no more"


def test_people_get_aligned_lines(board):
    lines = people.for_people(snapshot(board.copy())).splitlines()
    facts = lines[: lines.index("")]
    assert all(re.match(r"[a-z]{3,8} +\S", line) for line in facts)
    assert len({re.match(r"\w+ +", line).end() for line in facts}) == 1
    assert lines[lines.index("") + 1].split()[:2] == ["PID", "PEER"]


@pytest.fixture(autouse=True)
def default_path(tmp_path, monkeypatch):
    """Return the default path of the config; there is a file."""
    path = tmp_path / "echod.conf"
    path.touch()
    monkeypatch.setattr(people, "DEFAULT_PATH", str(path))
    return path


def test_a_config_that_is_not_there_is_the_built_in_defaults(board, default_path):
    def config(path):
        board.set_texts(config_file=str(path), last_reload="never")
        return fact(people.for_people(snapshot(board.copy())), "config")

    assert config(default_path) == f"{default_path}, generation 1, last reload: never"
    default_path.unlink()
    assert config(default_path) == "built-in defaults, generation 1, last reload: never"
    assert config("/gone.conf") == "/gone.conf, generation 1, last reload: never", "the name of another file is told"


def test_what_there_is_to_tell(board):
    state = snapshot(board.copy()) | {
        "uptime": 90061.0, "full_for": 3.2, "accept_queue": 17, "log_lines_lost": 3,
        "ended": {"eof": 9, "reset": 0, "idle": 2}, "refused": {"access": 1, "proxy": 4},
        "last_refused": {"peer": "192.0.2.66:5151", "reason": "access", "age": 4.1},
    }  # fmt: skip
    text = people.for_people(state)
    assert fact(text, "state").startswith(f"running, pid {os.getpid()}, up 1d 1h, version ")
    assert fact(text, "clients") == "3 of 256, peak 4, full for 3.2s, 17 in the accept queue"
    assert fact(text, "accepted") == "4, 1 closed"
    assert fact(text, "ended") == "9 eof, 2 idle"
    assert fact(text, "refused") == "1 access, 4 proxy; last 192.0.2.66:5151, access, 4.1s ago"
    assert fact(text, "bytes") == "115 B in, 109 B out"
    assert fact(text, "config") == "/etc/echod.conf, generation 1, last reload: ok"
    assert fact(text, "options") == "-o log=none -o backlog=7"
    assert fact(text, "log ") == "3 lines lost"


def test_what_there_is_to_tell_of_a_quiet_one():
    text = people.for_people(snapshot(new_board().copy()) | {"accept_queue": 0})
    assert fact(text, "clients") == "0 of 0, peak 0, none in the accept queue"
    assert fact(text, "ended") == fact(text, "refused") == "none"
    assert fact(text, "log") == "no lines lost"
    assert "options" not in text
    assert "PID" not in text


def test_rates_where_they_are_known(board):
    rates = {"accepted": 2.0, "refused": 0.5, "bytes_in": 2048.0, "bytes_out": 1.0}
    text = people.for_people(snapshot(board.copy()) | {"rates": rates})
    assert fact(text, "accepted") == "4 (2.0/s), 1 closed"
    assert fact(text, "refused") == "1 access (0.5/s)"
    assert fact(text, "bytes") == "115 B in (2.0 KiB/s), 109 B out (1 B/s)"


@given(st.integers(people.LEAST_COLUMNS, 220), st.integers(1, 60), st.text(max_size=300))
def test_it_is_never_wider_than_the_terminal(columns, lines, path):
    board = new_board()
    for pid in range(1, 9):
        record(board, "[2001:db8:1111:2222:3333:4444:5555:6666]:65535", pid)
    shown = people.for_people(snapshot(board.copy()) | {"config_file": path}, columns, lines).split("\n")
    assert all(len(line) <= columns and line.isprintable() for line in shown)
    assert len(shown) <= lines or not any("PID" in line for line in shown), "clients give way, facts do not"


def test_a_long_fact_goes_on_below_its_text():
    assert people.wrap("config    /etc/echod.conf, generation 1", 32) == [
        "config    /etc/echod.conf,",
        "          generation 1",
    ]


def test_nothing_unprintable_reaches_the_terminal(board):
    board.set_texts(config_file="/etc/\x1b[2J\udcff\r.conf", last_reload="bad\ttext", listen="\x07")
    record(board, "\x1b]0;title\x07", 5)
    text = people.for_people(snapshot(board.copy()))
    assert all(line.isprintable() for line in text.split("\n"))
    assert r"/etc/\x1b[2J\udcff\r.conf" in text


@pytest.mark.parametrize(
    ("size", "found"), [((50, 132), (132, 50)), ((0, 0), (people.DEFAULT_COLUMNS, people.DEFAULT_LINES))]
)
def test_the_size_of_a_terminal(size, found):
    other_end, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, size)
    assert people.terminal(terminal) == found
    os.close(other_end)
    os.close(terminal)


def test_what_is_no_terminal_has_no_size():
    read_end, write_end = os.pipe()
    assert people.terminal(write_end) is None
    os.close(read_end)
    os.close(write_end)
