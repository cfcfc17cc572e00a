from __future__ import annotations

import os
import signal
import tempfile
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.common import scoreboard
from echod.common.scoreboard import BEGUN, LAST, RECEIVED, SENT, SLOT, Scoreboard
from support.processes import fork, reap
from support.wait import wait_for


@pytest.fixture
def file():
    """Return a descriptor for a board."""
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


@pytest.fixture
def board(file):
    """Return a board to write."""
    return Scoreboard(file)


def counters(board, *words):
    return [board.words[word] for word in words]


COUNTED = (scoreboard.ACCEPTED, scoreboard.PEAK, scoreboard.CLOSED)


def test_a_reader_sees_what_the_writer_writes(board, file):
    reader = Scoreboard(file, writable=False)
    assert reader.words[scoreboard.MAGIC] == scoreboard.VERSION
    assert reader.words[scoreboard.PID] == os.getpid()
    assert reader.words[scoreboard.GENERATION] == 1
    assert reader.words[scoreboard.STATE] == scoreboard.STARTING
    assert 0 < reader.words[scoreboard.STARTED] <= time.monotonic_ns()
    board.words[scoreboard.STATE] = scoreboard.RUNNING
    assert reader.words[scoreboard.STATE] == scoreboard.RUNNING


def test_a_reader_cannot_write(board, file):
    reader = Scoreboard(file, writable=False)
    with pytest.raises(TypeError):
        reader.words[scoreboard.PID] = 1
    assert board.words[scoreboard.PID] == os.getpid()


def test_a_file_that_is_too_short_is_no_board(file):
    with pytest.raises(ValueError, match="mmap length is greater"):
        Scoreboard(file, writable=False)


def test_an_unused_board_takes_next_to_no_room(board, file):
    assert os.fstat(file).st_size == scoreboard.SIZE
    board.words[scoreboard.PID] = 1
    os.fsync(file)
    assert os.fstat(file).st_blocks * 512 <= 64 << 10


def enter(board, peer, pid):
    """Give a client a slot and enter its child, as `children` and the child do."""
    slot = board.take()
    board.words[slot + BEGUN] = board.words[slot + LAST] = time.monotonic_ns()
    board.enter(slot, pid, peer)
    return slot


def test_a_client_is_shown_from_when_its_child_is_known_until_it_is_released(board, file):
    reader = Scoreboard(file, writable=False)
    slot = board.take()
    assert list(reader.clients()) == []
    board.words[slot + BEGUN] = time.monotonic_ns()
    board.enter(slot, 4711, "192.0.2.1:7")
    board.words[slot + RECEIVED], board.words[slot + SENT], board.words[slot + LAST] = 5, 3, 17
    ((pid, peer, begun, last, received, sent),) = reader.clients()
    assert (pid, peer, last, received, sent) == (4711, "192.0.2.1:7", 17, 5, 3)
    assert 0 < begun <= time.monotonic_ns()
    assert counters(reader, *COUNTED) == [1, 1, 0]
    board.words[slot + BEGUN] -= 1_500_000_000
    bytes_in, bytes_out, milliseconds = board.leave(slot)
    assert (bytes_in, bytes_out) == (5, 3)
    assert milliseconds >= 1500
    assert list(reader.clients()) == []
    assert counters(reader, *COUNTED) == [1, 1, 1]
    assert counters(reader, scoreboard.BYTES_IN, scoreboard.BYTES_OUT) == [5, 3]


def test_slots_are_reused_the_last_one_first_and_start_at_zero(board):
    slots = [enter(board, f"peer{number}", 100 + number) for number in range(4)]
    assert slots == [slots[0] + number * SLOT // 8 for number in range(4)]
    for slot in slots:
        board.words[slot + RECEIVED] = 9
    board.leave(slots[2])
    board.leave(slots[1])
    assert enter(board, "new", 7) == slots[1]
    assert [board.take(), board.take()] == [slots[2], slots[3] + SLOT // 8]
    assert counters(board, slots[1] + SENT, slots[1] + RECEIVED) == [0, 0]
    assert [entry[:2] for entry in board.clients()] == [(100, "peer0"), (7, "new"), (103, "peer3")]


def test_a_slot_that_no_child_came_to_own_is_given_back(board):
    slot = board.take()
    board.free(slot)
    assert enter(board, "other", 1) == slot
    assert counters(board, scoreboard.ACCEPTED) == [1]


def test_a_slot_for_another_use_is_not_a_clients(board):
    spare = board.take()
    assert enter(board, "peer", 1) != spare
    assert counters(board, *COUNTED) == [1, 1, 0]


def test_the_peak_stays(board):
    for slot in [enter(board, "peer", 9) for _ in range(3)]:
        board.leave(slot)
    enter(board, "peer", 9)
    assert counters(board, *COUNTED) == [4, 3, 3]


def test_a_childs_tally_is_its_own(board):
    slots = [enter(board, "peer", 9) for _ in range(3)]

    def count():
        board.words[slots[1] + RECEIVED] = 7
        board.words[slots[1] + SENT] = 6

    assert reap(fork(count)) == 0
    assert [entry[4:] for entry in board.clients()] == [(0, 0), (7, 6), (0, 0)]


@pytest.mark.parametrize(
    "text", ["[fe80:1111:2222:3333:4444:5555:6666:7777%averylongname01]:65535", "x" * 100, "ü" * 100]
)
def test_a_long_peer_is_cut_where_its_room_ends(board, text):
    first, second = enter(board, "first", 1), enter(board, "second", 2)
    board.leave(first)
    assert enter(board, text, 3) == first
    (pid, shown, *_), following = board.clients()
    assert (pid, following[:2]) == (3, (2, "second"))
    assert text.startswith(shown.rstrip("\ufffd"))
    assert len(shown.encode()) >= 62
    board.leave(second)


def test_counters_have_64_bits(board, file):
    reader = Scoreboard(file, writable=False)
    slot = enter(board, "peer", 1)
    for many in ((1 << 32) + 1, 1 << 62):
        board.words[slot + RECEIVED] = many
        assert next(reader.clients())[4] == many
    board.words[scoreboard.BYTES_IN] = 1 << 40
    assert board.leave(slot)[0] == 1 << 62
    assert reader.words[scoreboard.BYTES_IN] == (1 << 40) + (1 << 62)


def test_the_last_slot_is_inside_the_file(board):
    board.words[scoreboard.TOP] = scoreboard.SLOTS - 1
    slot = enter(board, "last", 4)
    board.words[slot + SENT] = 1
    assert [entry[:2] for entry in board.clients()] == [(4, "last")]


def test_a_damaged_count_of_slots_does_not_lead_a_reader_outside(board):
    board.words[scoreboard.TOP] = 1 << 60
    assert list(board.clients()) == []


TEXT = st.text(st.characters(exclude_characters="\0\n", exclude_categories=["Cs"]), max_size=100)


@given(st.dictionaries(st.sampled_from(["listen", "config_file", "changes"]), TEXT))
def test_texts_come_back(texts):
    with tempfile.TemporaryFile() as file:
        board = Scoreboard(file.fileno())
        board.set_texts(**texts)
        assert Scoreboard(file.fileno(), writable=False).texts() == texts


def test_texts_are_replaced_whole(board):
    board.set_texts(a="x" * 1000, b="y")
    board.set_texts(b="z=1")
    assert board.texts() == {"b": "z=1"}


def test_a_line_break_in_a_text_does_not_make_another_text(board):
    board.set_texts(a="one\nb=two", c="three")
    assert board.texts() == {"a": "one b=two", "c": "three"}


def test_a_path_that_is_not_utf8_comes_back(board):
    path = os.fsdecode(b"/etc/\xff.conf")
    board.set_texts(config_file=path)
    assert board.texts() == {"config_file": path}


def test_texts_that_are_too_long_are_cut_and_spoil_nothing(board):
    enter(board, "peer", 1)
    board.set_texts(a="1", b="ü" * scoreboard.TEXT_ROOM, c="3")
    texts = board.texts()
    assert texts["a"] == "1"
    assert len(texts["b"].encode(errors="surrogateescape")) == scoreboard.TEXT_ROOM - 1 - len("a=1\nb=")
    assert [entry[:2] for entry in board.clients()] == [(1, "peer")]


def test_texts_are_never_torn_while_another_process_writes_them(board, file):
    def write():
        count = 0
        while os.getppid() == parent:
            count += 1
            board.set_texts(a=str(count), b="x" * 12_000, c=str(count))

    parent = os.getpid()
    board.set_texts(a="0", b="", c="0")
    reader = Scoreboard(file, writable=False)
    pid = fork(write)
    try:
        wait_for(lambda: reader.words[scoreboard.SEQUENCE] > 10, "the writer")
        seen: set[str] = set()

        def read():
            for _ in range(100):
                texts = reader.texts()
                assert texts["a"] == texts["c"]
                assert texts["b"] in ("", "x" * 12_000)
                seen.add(texts["a"])
            return len(seen) > 200

        wait_for(read, "200 texts")
    finally:
        os.kill(pid, signal.SIGKILL)
        reap(pid)


def test_a_writer_that_was_killed_in_the_middle_keeps_no_reader_waiting_for_ever(board, file):
    board.set_texts(a="1")
    board.words[scoreboard.SEQUENCE] += 1
    assert Scoreboard(file, writable=False).texts() == {"a": "1"}
