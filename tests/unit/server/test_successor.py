from __future__ import annotations

import os
import socket

import pytest

from echod.common import scoreboard
from echod.common.config.settings import SETTINGS, Config
from echod.common.errors import BAD_CONFIG, FAILED, EchodError
from echod.common.items import read_items
from echod.common.launch import Launch
from echod.common.scoreboard import Scoreboard
from echod.common.succession import Answer, Succession
from echod.server import successor
from echod.server.board import Board
from echod.server.children import Children
from echod.server.lean.slots import RECORDED
from echod.server.successor import check_layout, trial
from support.board import record
from support.processes import isolated
from support.sockets import make_board, memory_log, settings, signal_pipe


def test_settings_are_those_of_the_file_or_those_that_the_trial_has_read(tmp_path):
    launch = Launch(config_file=str(tmp_path / "conf"))
    (tmp_path / "conf").write_text("[echod]\nmax_children = 7\n")
    assert successor.load(launch, None).max_children == 7
    config = settings("max_children=9", "allow=10.0.0.0/8,::1", "log=/var/log/x")
    config = Config(vars(config) | {"directory": "/new\nline"})
    before = Succession(settings=tuple(f"{name}={config.text(name)}" for name in vars(config)))
    assert vars(successor.load(launch, before)) == vars(config)


def test_addresses_are_those_that_are_listened_on():
    config, launch = settings("listen=*:7"), Launch(addresses=(None, None))
    assert successor.keep_addresses(config, launch).listen == (("*", 7),)
    launch = Launch(addresses=(("127.0.0.1", 8), ("localhost", 9), ("localhost", 9)))
    assert successor.keep_addresses(config, launch).listen == (("127.0.0.1", 8), ("localhost", 9))


def test_children_keep_their_slots_and_others_are_free():
    before = make_board()
    slots = [record(before, f"127.0.0.1:{number}", 4000 + number) for number in range(3)]
    before.begin()
    before.remove(slots[1])
    before.end()
    handed_on = (4000, slots[0], 0, ("127.0.0.1", 0)), (4002, slots[2], 1, ("127.0.0.1", 2))
    before.words[scoreboard.TOP] = 1 << 40  # whatever another process has written there
    board = Board(before.fd, Succession(slots=3, children=handed_on))
    children = Children(board, signal_pipe(), settings(), memory_log()[0])
    successor.adopt_children(children, Succession(children=handed_on))
    assert {pid: (child.slot, child.named, child.peer, child.state) for pid, child in children.table.items()} == {
        4000: (slots[0], False, "127.0.0.1:0", RECORDED),
        4002: (slots[2], True, "127.0.0.1:2", RECORDED),
    }
    assert not children.watched
    assert [board.take(), board.take()] == [slots[1], slots[2] + scoreboard.SLOT // scoreboard.WORD_SIZE]
    board.words[scoreboard.TOP] = board.top
    assert len(Scoreboard(board.fd).copy().clients()) == 2


def determined(tmp_path, asked, *in_effect, passed=False):
    """Return the settings that a trial determines, as text, and what it finds changed."""
    (tmp_path / "conf").write_text(f"[echod]\n{asked}\n")
    launch = Launch(config_file=str(tmp_path / "conf"), base="/", addresses=(None if passed else ("*", 7),))
    before = Succession(in_effect=tuple(in_effect))
    config, changes = successor.determine(launch, before)
    return dict(text.split("=", 1) for text in successor.write_settings(config)), changes


@pytest.mark.parametrize(
    ("setting", "old", "new"),
    [
        ("user", "5", "root"),
        ("group", "", "9"),
        ("umask", "022", "077"),
        ("directory", "/", "/x"),
        ("pid_file", "/a", "/b"),
    ],
)
def test_settings_that_need_a_restart_stay_those_in_effect(tmp_path, setting, old, new):
    found, changes = determined(tmp_path, f"{setting} = {new}\nbacklog = 5", f"{setting}={old}", "backlog=6")
    assert (found[setting], found["backlog"]) == (old, "5")
    assert changes == ["backlog: 6 -> 5", f"{setting}: {old or 'empty'} -> {new} (needs a restart)"]


@pytest.mark.parametrize(
    ("old", "new", "moves"),
    [
        ("*:7", "*:8", True),
        ("*:7", "127.0.0.1:8 [::1]:8", True),
        ("*:7", "[fe80::1%lo]:8", True),
        ("name.example:7 *:8", "name.example:7", True),  # whose sockets the daemon has
        ("*:7", "name.example:7", False),
        ("*:7", "*:7 localhost:8", False),
        ("*:7", "127.1:8", False),
        ("name.example:7", "name.example:8", False),
    ],
)
def test_a_name_that_is_new_stays_for_a_restart(tmp_path, old, new, moves):
    for passed in (False, True):
        found, changes = determined(tmp_path, f"listen = {new}", f"listen={old}", passed=passed)
        moved = moves and not passed
        assert found["listen"] == ", ".join((new if moved else old).split())
        (line,) = changes
        assert line.endswith("(needs a restart)") != moved


def test_settings_of_the_previous_version_that_are_unknown_are_skipped(tmp_path):
    found, changes = determined(tmp_path, "umask = 022", "umask=077", "color=blue")
    assert (found["umask"], changes) == ("077", ["umask: 077 -> 022 (needs a restart)"])


@pytest.fixture
def launch(tmp_path):
    """Return what a daemon hands to a trial, but for the sockets."""
    (tmp_path / "conf").write_text("[echod]\nmax_children = 7\n")
    board_fd = os.memfd_create("board")
    scoreboard.initialize(board_fd, 7)
    yield Launch(
        config_file=str(tmp_path / "conf"), base="/", log="stderr", board_fd=board_fd, addresses=(("127.0.0.1", 0),)
    )
    os.close(board_fd)


@pytest.fixture
def before():
    """Return the rest of it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield Succession(version="0", sockets=(listening.fileno(),))


def tried(launch, before):
    """Return the answer of a trial; its exit code is the same."""
    output, state = os.memfd_create("output"), os.memfd_create("state")
    before.write(state)

    def run():
        os.dup2(output, 1)
        code = trial(launch, ["--trial", f"state_fd={state}"])
        assert code == Answer.from_items(read_items(output)).code

    isolated(run)
    answer = Answer.from_items(read_items(output))
    os.close(output)
    os.close(state)
    return answer


def test_one_that_is_fit_says_so_and_with_which_settings(launch, before):
    board = os.pread(launch.board_fd, scoreboard.SIZE, 0)
    answer = tried(launch.replace(base="/new\nline", overrides=("directory=below",)), before)
    assert (answer.code, answer.why) == (0, "")
    assert {"max_children=7", "directory=/new\nline/below"} <= set(answer.settings)
    assert [text.partition("=")[0] for text in answer.settings] == list(SETTINGS)
    assert os.pread(launch.board_fd, scoreboard.SIZE, 0) == board


@pytest.mark.parametrize(
    ("lines", "code", "why"),
    [
        ("max_children = many", BAD_CONFIG, "conf:2: max_children: "),
        ("log = /proc/none/x", FAILED, "cannot open the log: "),
    ],
)
def test_why_it_is_not(launch, before, lines, code, why):
    with open(launch.config_file, "w") as file:
        file.write(f"[echod]\n{lines}\n")
    answer = tried(launch, before)
    assert (answer.code, answer.settings) == (code, ())
    assert why in answer.why


def test_a_descriptor_that_is_no_listening_socket(launch):
    with socket.socket() as sock:
        answer = tried(launch, Succession(sockets=(sock.fileno(),)))
    assert answer.code == BAD_CONFIG
    assert "is not a listening TCP socket" in answer.why


def test_a_succession_that_cannot_be_read(launch):
    answer = tried(launch, Succession(oom_fd="many"))
    assert answer.code == FAILED
    assert answer.why.startswith("what the previous version hands over cannot be read: invalid literal")


def test_another_layout(launch):
    os.pwrite(launch.board_fd, (scoreboard.VERSION + 1).to_bytes(8, "little"), scoreboard.MAGIC * 8)
    with pytest.raises(EchodError, match=r"has layout \d+, this version \d+; use restart"):
        check_layout(launch.board_fd)
    os.ftruncate(launch.board_fd, 100)
    with pytest.raises(EchodError, match="has layout 0, "):
        check_layout(launch.board_fd)
