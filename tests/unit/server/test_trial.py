from __future__ import annotations

import os
import socket

import pytest

from echod.common import scoreboard
from echod.common.config.settings import SETTINGS
from echod.common.errors import BAD_CONFIG, FAILED, EchodError
from echod.common.handover import Handover
from echod.server.trial import check_layout, trial
from support.processes import isolated


@pytest.fixture
def handover(tmp_path):
    """Return what a daemon hands to a trial."""
    handover = Handover()
    handover.config_file, handover.base, handover.log = str(tmp_path / "conf"), "/", "stderr"
    (tmp_path / "conf").write_text("[echod]\nmax_children = 7\n")
    handover.board_fd = os.memfd_create("board")
    scoreboard.initialize(handover.board_fd, 7)
    handover.addresses = [("127.0.0.1", 0)]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        handover.sockets = [listening.fileno()]
        yield handover
    os.close(handover.board_fd)


def tried(handover):
    """Return what a trial has written, and its exit code."""
    output = os.memfd_create("output")
    code = []

    def run():
        os.dup2(output, 1)
        os.write(output, b"%d " % trial(handover))

    isolated(run)
    said = os.pread(output, 1 << 16, 0).decode()
    os.close(output)
    text, _, found = said.rpartition("\n")
    code.append(int(found))
    return text, code[0]


def test_one_that_is_fit_says_so_and_with_which_settings(handover):
    before = os.pread(handover.board_fd, scoreboard.SIZE, 0)
    text, code = tried(handover)
    lines = text.split("\n")
    assert (code, lines[0]) == (0, "fit")
    assert "max_children=7" in lines
    assert [line.partition("=")[0] for line in lines[1:]] == list(SETTINGS)
    assert os.pread(handover.board_fd, scoreboard.SIZE, 0) == before


@pytest.mark.parametrize(
    ("lines", "code", "why"),
    [
        ("max_children = many", BAD_CONFIG, "conf:2: max_children: "),
        ("log = /proc/none/x", FAILED, "cannot open the log: "),
    ],
)
def test_why_it_is_not(handover, lines, code, why):
    with open(handover.config_file, "w") as file:
        file.write(f"[echod]\n{lines}\n")
    text, status = tried(handover)
    assert status == code
    assert text.startswith(f"{code} ")
    assert why in text


def test_a_descriptor_that_is_no_listening_socket(handover):
    with socket.socket() as sock:
        handover.sockets = [sock.fileno()]
        text, code = tried(handover)
    assert (code, text.startswith("1 cannot start: ")) == (FAILED, True)


def test_another_layout(handover):
    os.pwrite(handover.board_fd, (scoreboard.VERSION + 1).to_bytes(8, "little"), scoreboard.MAGIC * 8)
    with pytest.raises(EchodError, match=r"has layout \d+, this version \d+; use restart"):
        check_layout(handover.board_fd)
    os.ftruncate(handover.board_fd, 100)
    with pytest.raises(EchodError, match="has layout 0, "):
        check_layout(handover.board_fd)
