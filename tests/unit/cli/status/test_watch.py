from __future__ import annotations

import os
import subprocess
import sys

import pytest

from echod.cli.status.snapshot import snapshot
from echod.cli.status.watch import watch, with_rates
from echod.common import scoreboard
from echod.common.errors import USAGE, EchodError
from support.board import record
from support.terminal import Terminal


def later(board, before, seconds=2.0):
    """Return a snapshot that is of `seconds` after another, whose uptime becomes one that a float holds exactly."""
    before["uptime"] = 1.0
    return snapshot(board.copy()) | {"uptime": before["uptime"] + seconds}


def test_rates_are_what_happened_since_the_look_before(board):
    before = snapshot(board.copy())
    board.words[board.first + scoreboard.RECEIVED] += 100
    new = record(board, "127.0.0.1:9", 77)
    board.words[new + scoreboard.SENT] = 10
    board.words[scoreboard.ACCESS] += 3
    state = with_rates(later(board, before), before)
    assert state["rates"] == {"accepted": 0.5, "refused": 1.5, "bytes_in": 50.0, "bytes_out": 5.0}
    assert {child["pid"]: child["rate"] for child in state["children"]} == {4711: 50.0, 4194304: 0.0, 9: 0.0, 77: 5.0}


def test_a_pid_that_another_client_has_now_is_another_client(board):
    before = snapshot(board.copy())
    for child in before["children"]:
        child["peer"] = "192.0.2.1:1"
    assert {child["rate"] for child in with_rates(later(board, before), before)["children"]} == {4.0}


def test_without_a_look_before_there_are_no_rates(board):
    state = snapshot(board.copy())
    assert with_rates(state, None) == state
    assert with_rates(later(board, state), state | {"pid": 1}).keys() == state.keys()
    assert with_rates(state, state) == state, "no time has passed"


def test_it_needs_a_terminal(monkeypatch):
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdout", nothing)
        with pytest.raises(EchodError, match="--watch needs a terminal") as raised:
            watch(lambda: "", 1.0)
    assert raised.value.code == USAGE


def test_curses_is_imported_for_it_only():
    code = "import sys, echod.cli.status.command; sys.exit('curses' in sys.modules or '_curses' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


RESIZED_BEFORE_THE_WAIT = """\
import termios
from echod.cli.status import watch
drawn, sizes = watch.draw, []

def draw(screen, state):
    drawn(screen, state)
    sizes.append(screen.getmaxyx())
    if len(sizes) == 1:
        termios.tcsetwinsize(0, (30, 120))
    elif sizes[-1] == (30, 120):
        raise KeyboardInterrupt

watch.draw = draw
watch.watch(lambda: "nothing", 1000.0)
print(sizes[-1])
"""


def test_a_resize_just_before_it_waits_is_noticed():
    terminal = Terminal([sys.executable, "-c", RESIZED_BEFORE_THE_WAIT], 80, 24, "xterm-256color")
    try:
        terminal.wait_for("(30, 120)")
        assert terminal.end() == 0
    finally:
        terminal.close()
