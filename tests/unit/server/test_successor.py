from __future__ import annotations

import os

from echod.common import scoreboard
from echod.common.handover import Handover
from echod.common.scoreboard import Scoreboard
from echod.server import successor
from echod.server.board import Board
from echod.server.children import Children
from echod.server.lean.slots import RECORDED
from support.board import record
from support.sockets import make_board, memory_log, settings, signal_pipe


def test_settings_are_those_of_the_file_or_those_that_the_trial_has_read(tmp_path):
    handover = Handover()
    handover.config_file = str(tmp_path / "conf")
    (tmp_path / "conf").write_text("[echod]\nmax_children = 7\n")
    assert successor.load(handover).max_children == 7
    handover.state_fd = os.memfd_create("state")
    config = settings("max_children=9", "allow=10.0.0.0/8,::1", "log=/var/log/x")
    handover.settings = [f"{name}={config.text(name)}" for name in vars(config)]
    assert vars(successor.load(handover)) == vars(config)
    assert handover.state_fd == -1


def test_addresses_are_those_that_are_listened_on():
    handover, config = Handover(), settings("listen=*:7")
    handover.addresses = [None, None]
    assert successor.keep_addresses(config, handover).listen == (("*", 7),)
    handover.addresses = [("127.0.0.1", 8), ("localhost", 9), ("localhost", 9)]
    assert successor.keep_addresses(config, handover).listen == (("127.0.0.1", 8), ("localhost", 9))


def test_children_keep_their_slots_and_others_are_free():
    before = make_board()
    slots = [record(before, f"127.0.0.1:{number}", 4000 + number) for number in range(3)]
    before.begin()
    before.remove(slots[1])
    before.end()
    board = Board(before.fd)
    children = Children(board, signal_pipe(), settings(), memory_log()[0])
    handover = Handover()
    handover.version = "0"
    handover.children = [(4000, slots[0], 0, ("127.0.0.1", 0)), (4002, slots[2], 1, ("127.0.0.1", 2))]
    successor.adopt(children, handover)
    assert {pid: (child.slot, child.named, child.peer, child.state) for pid, child in children.table.items()} == {
        4000: (slots[0], False, "127.0.0.1:0", RECORDED),
        4002: (slots[2], True, "127.0.0.1:2", RECORDED),
    }
    assert not children.watched
    assert [board.take(), board.take()] == [slots[1], slots[2] + scoreboard.SLOT // scoreboard.WORD_SIZE]
    assert len(Scoreboard(board.fd).copy().clients()) == 2
