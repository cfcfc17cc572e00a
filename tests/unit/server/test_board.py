from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.common import scoreboard
from echod.common.scoreboard import (
    ACCEPTED,
    BEGUN,
    BYTES_IN,
    BYTES_OUT,
    CLOSED,
    ENDED,
    LAST,
    PEAK,
    PEER_ROOM,
    RECEIVED,
    SENT,
    SLOT,
    SLOTS_AT,
    WORD_SIZE,
    Scoreboard,
)
from echod.server.board import Board
from support.processes import CLONE_NEWNS, fork, mount, namespaces, reap
from support.sockets import make_board
from support.wait import need_root, wait_for


@pytest.fixture
def board():
    """Return a scoreboard to write; `reader` reads it as another process does."""
    board = make_board()
    yield board
    os.close(board.fd)


@pytest.fixture
def reader(board):
    return Scoreboard(board.fd)


def counters(board, *words):
    return [board.words[word] for word in words]


def record(board, peer, pid):
    """Give a client a slot and record its child, as `children` and the child do."""
    slot = board.take()
    board.words[slot + BEGUN] = board.words[slot + LAST] = time.monotonic_ns()
    board.begin()
    board.record(slot, pid, peer)
    board.end()
    return slot


def remove(board, slot):
    board.begin()
    try:
        return board.remove(slot)
    finally:
        board.end()


def shown(reader):
    return [client[:2] for client in reader.copy().clients()]


def test_a_new_one_has_the_servers_pid_and_when_it_started(board, reader):
    assert reader.words[scoreboard.MAGIC] == scoreboard.VERSION
    assert reader.words[scoreboard.PID] == os.getpid()
    assert 0 < reader.words[scoreboard.STARTED] <= time.monotonic_ns()
    board.words[scoreboard.STATE] = scoreboard.RUNNING
    assert reader.words[scoreboard.STATE] == scoreboard.RUNNING


def test_a_client_is_shown_from_when_its_child_is_recorded_until_it_is_removed(board, reader):
    slot = board.take()
    assert reader.copy().clients() == []
    board.words[slot + BEGUN] = 100
    board.record(slot, 4711, "192.0.2.1:7")
    board.words[slot + RECEIVED], board.words[slot + SENT], board.words[slot + LAST] = 5, 3, 117
    assert reader.copy().clients() == [(4711, "192.0.2.1:7", 100, 117, 5, 3)]
    assert counters(reader, ACCEPTED, CLOSED) == [1, 0]
    board.words[slot + ENDED] = 200
    assert board.remove(slot) == (5, 3, 100, 200)
    assert reader.copy().clients() == []
    assert counters(reader, ACCEPTED, CLOSED, BYTES_IN, BYTES_OUT) == [1, 1, 5, 3]


def test_slots_follow_each_other_and_are_zero_again_when_a_child_has_gone(board, reader):
    slots = [record(board, f"peer{number}", 100 + number) for number in range(4)]
    assert slots == [slots[0] + number * SLOT // WORD_SIZE for number in range(4)]
    for slot in slots:
        board.words[slot + RECEIVED] = 9
    remove(board, slots[1])
    assert counters(board, slots[1] + SENT, slots[1] + RECEIVED, slots[1] + ENDED) == [0, 0, 0]
    assert shown(reader) == [(100, "peer0"), (102, "peer2"), (103, "peer3")]
    assert board.take() == slots[3] + SLOT // WORD_SIZE


def test_a_slot_for_another_use_is_not_a_clients(board, reader):
    other = board.take()
    board.words[other + SENT] = 4
    assert record(board, "peer", 1) != other
    assert counters(board, ACCEPTED, CLOSED) == [1, 0]
    assert shown(reader) == [(1, "peer")]
    board.clear(other)
    assert board.words[other : other + SLOT // WORD_SIZE].tolist() == [0] * (SLOT // WORD_SIZE)


def test_why_clients_ended_is_counted_and_their_fin_costs_nothing(board, reader):
    slots = [record(board, "peer", 9) for _ in range(6)]
    board.remove(slots.pop())
    for reason in ("reset", "signal=SIGKILL", "error=EIO", "error=CRASHED", "unheard-of"):
        board.remove(slots.pop())
        board.count_end(reason, "peer")
    assert reader.copy().ends() == {
        "eof": 1, "reset": 1, "idle": 0, "lifetime": 0, "drain": 0, "signal": 1, "error": 3, "proxy": 0, "access": 0,
    }  # fmt: skip


@pytest.mark.parametrize("reason", ["proxy", "access"])
def test_a_client_whose_child_refused_it_counts_as_refused(board, reader, reason):
    board.remove(record(board, "192.0.2.1:7", 9))
    board.count_end(reason, "192.0.2.1:7")
    word = scoreboard.REFUSALS[reason]
    assert counters(reader, word, scoreboard.REFUSED_WHY) == [1, word]
    assert reader.copy().text(scoreboard.REFUSED_PEER_AT) == "192.0.2.1:7"
    assert {reason: count for reason, count in reader.copy().ends().items() if count} == {reason: 1}


def test_who_is_refused_before_there_is_a_child_has_not_ended(board, reader):
    board.count_refusal("access", "192.0.2.1:7")
    assert not any(reader.copy().ends().values())


def test_a_peer_that_has_been_written_stays(board, reader):
    slot = board.take()
    board.write_text(slot, "192.0.2.1:7")
    board.record(slot, 9, "")
    assert [client[1] for client in reader.copy().clients()] == ["192.0.2.1:7"]


def test_the_version_that_writes_it_is_there_and_the_start_is_the_first(board, reader):
    started = counters(reader, scoreboard.STARTED, scoreboard.START_TIME)
    assert 0 <= time.time_ns() - started[1] < 3600e9
    again = Board(board.fd)
    assert counters(reader, scoreboard.STARTED, scoreboard.START_TIME) == started
    assert again.words[scoreboard.PID] == os.getpid()


def test_the_peak_only_rises(board):
    for clients in (3, 1, 5, 4):
        board.raise_peak(clients - 1, [1], [])
    assert counters(board, PEAK) == [5]


@pytest.mark.parametrize(
    ("clients", "begun", "ended", "most"),
    [
        (0, [], [], 0),
        (3, [], [], 3),
        (3, [], [5], 3),
        (0, [1, 2, 3], [], 3),
        (0, [1, 3, 5], [2, 4, 6], 1),
        (1, [1, 3], [2], 2),
        (0, [2], [2], 0),
        (2, [9], [1, 2, 3], 2),
    ],
)
def test_the_peak_is_how_many_there_were_at_once(board, clients, begun, ended, most):
    board.words[PEAK] = clients  # when these came, they were counted
    board.raise_peak(clients, begun, ended)
    assert counters(board, PEAK) == [most]


SPANS = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)).map(lambda span: (span[0], sum(span))), max_size=12)


@given(st.integers(0, 3), SPANS)
def test_the_peak_is_that_of_the_busiest_moment(clients, spans):
    most = max((sum(begun <= at < ended for begun, ended in spans) for at in range(71)), default=0)
    with tempfile.TemporaryFile() as file:
        scoreboard.initialize(file.fileno(), 1)
        board = Board(file.fileno())
        board.words[PEAK] = clients
        board.raise_peak(clients, [begun for begun, _ in spans], [ended for _, ended in spans])
        assert counters(board, PEAK) == [clients + most]


def test_what_a_child_counts_is_its_own(board, reader):
    slots = [record(board, "peer", 9) for _ in range(3)]

    def count():
        board.words[slots[1] + RECEIVED] = 7
        board.words[slots[1] + SENT] = 6

    assert reap(fork(count)) == 0
    assert [client[4:] for client in reader.copy().clients()] == [(0, 0), (7, 6), (0, 0)]


@pytest.mark.parametrize(
    "text", ["[fe80:1111:2222:3333:4444:5555:6666:7777%averylongname01]:65535", "x" * 100, "ü" * 100]
)
def test_a_long_text_is_cut_where_its_room_ends(board, reader, text):
    first, _ = record(board, "first", 1), record(board, "second", 2)
    board.write_text(first, text)
    (pid, peer), following = shown(reader)
    assert (pid, following) == (1, (2, "second"))
    assert text.startswith(peer.rstrip("\ufffd"))
    assert len(peer.encode()) >= PEER_ROOM - 2
    assert board.read_text(first) == peer


def test_counters_have_64_bits(board, reader):
    slot = record(board, "peer", 1)
    for many in ((1 << 32) + 1, 1 << 62):
        board.words[slot + RECEIVED] = many
        assert reader.copy().clients()[0][4] == many
    board.words[BYTES_IN] = 1 << 40
    assert remove(board, slot)[0] == 1 << 62
    assert reader.words[BYTES_IN] == (1 << 40) + (1 << 62)


def test_the_last_slot_is_inside_the_file(board, reader):
    board.top = scoreboard.MOST_CHILDREN - 1
    slot = record(board, "last", 4)
    board.words[slot + SENT] = 1
    assert shown(reader) == [(4, "last")]


def test_room_is_reserved_for_more_clients_and_never_given_back(board):
    board.words[scoreboard.MAX_CHILDREN] = 1 << 40  # whatever another process has written there
    before = os.fstat(board.fd).st_blocks
    board.reserve(64)
    assert os.fstat(board.fd).st_blocks == before
    board.reserve(10_000)
    assert os.fstat(board.fd).st_blocks * 512 >= SLOTS_AT + 10_000 * SLOT
    board.reserve(1)
    assert os.fstat(board.fd).st_blocks * 512 >= SLOTS_AT + 10_000 * SLOT


def test_where_there_is_no_room_for_more_clients_it_is_an_error(tmp_path):
    need_root()

    def check():
        mount(b"tmpfs", tmp_path, b"size=256k")
        fd = os.open(tmp_path / "scoreboard", os.O_RDWR | os.O_CREAT)
        scoreboard.initialize(fd, 100)
        board = Board(fd)
        with pytest.raises(OSError, match="No space left on device"):
            board.reserve(10_000)
        ballast = os.open(tmp_path / "ballast", os.O_WRONLY | os.O_CREAT)
        with contextlib.suppress(OSError):
            while True:
                os.write(ballast, bytes(4096))
        for pid in range(100):
            record(board, "peer", 1 + pid)  # SIGBUS, were the room not there
        assert len(shown(Scoreboard(fd))) == 100

    namespaces(CLONE_NEWNS, check)


@pytest.mark.parametrize(("milliseconds", "seconds"), [(scoreboard.NEVER, None), (0, 0.0), (250, 0.25)])
def test_the_drain_timeout_in_force_is_read_from_it(board, milliseconds, seconds):
    board.words[scoreboard.DRAIN_MS] = milliseconds
    assert board.drain_timeout() == seconds


def test_an_answer_is_complete_when_its_number_is_there(board):
    board.words[scoreboard.RELOADS_BEGUN] = 3
    board.answer(scoreboard.RELOADS_BEGUN, 6)
    assert counters(board, scoreboard.RELOADS_DONE, scoreboard.RELOAD_CODE) == [3, 6]
    board.words[scoreboard.REOPENS_BEGUN] = 1
    board.answer(scoreboard.REOPENS_BEGUN, 0)
    assert counters(board, scoreboard.REOPENS_DONE, scoreboard.REOPEN_CODE) == [1, 0]


# Any bytes but NUL, as paths and arguments come into a program.
TEXT = st.binary().map(lambda raw: raw.replace(b"\0", b"\n").decode(errors="surrogateescape"))
# Some are longer than all that was written before, so that the place of the next ones changes.
LONG_TEXT = st.tuples(TEXT, st.sampled_from([0, 0, 0, 20_000, 400_000])).map(lambda both: both[0] + "x" * both[1])
TEXTS = st.dictionaries(st.sampled_from(["listen", "config_file", "changes"]), st.one_of(LONG_TEXT, st.lists(TEXT)))


@given(st.lists(TEXTS, min_size=1, max_size=8))
def test_texts_come_back(changes):
    """A reader between two of them finds the ones or the others: the new ones overwrite none that can be read."""
    with tempfile.TemporaryFile() as file:
        scoreboard.initialize(file.fileno(), 1)
        board, reader = Board(file.fileno()), Scoreboard(file.fileno())
        longest = 0
        for texts in changes:
            before, place = reader.copy(), board._texts
            kept = os.pread(board.fd, place[1] - place[0], place[0])
            board.set_texts(**texts)
            assert os.pread(board.fd, place[1] - place[0], place[0]) == kept, before.texts()
            copy = reader.copy()
            for key, value in texts.items():
                assert copy.all(key) == ([value] if isinstance(value, str) else value)
            longest = max(longest, board._texts[1] - board._texts[0])
            assert os.fstat(board.fd).st_size <= scoreboard.SIZE + max(2 * scoreboard.TEXT_ROOM, 5 * longest)
        assert board.words[scoreboard.SEQUENCE] % 2 == 0


def test_texts_that_have_no_room_leave_those_of_before(tmp_path):
    need_root()

    def check():
        mount(b"tmpfs", tmp_path, b"size=256k")
        fd = os.open(tmp_path / "scoreboard", os.O_RDWR | os.O_CREAT)
        scoreboard.initialize(fd, 1)
        board, reader = Board(fd), Scoreboard(fd)
        board.set_texts(a="before\n")
        for texts in ({"a": "x" * (300 << 10)}, {"a": ["x" * 1000] * 300}):
            with pytest.raises(OSError, match="No space left on device"):
                board.set_texts(**texts)
            with pytest.raises(OSError, match="No space left on device"):
                board.reserve_texts(*texts["a"])
            assert reader.texts() == {"a": "before\n"}
        board.reserve_texts("y" * (20 << 10))
        ballast = os.open(tmp_path / "ballast", os.O_WRONLY | os.O_CREAT)
        with contextlib.suppress(OSError):
            while True:
                os.write(ballast, bytes(4096))
        for _ in range(3):  # those that were reserved for, and as much that replaces them
            board.set_texts(a="y" * (20 << 10))
            assert reader.texts() == {"a": "y" * (20 << 10)}

    namespaces(CLONE_NEWNS, check)


def test_more_texts_than_a_reader_takes_are_an_error(board, reader):
    board.set_texts(a="before")
    for texts in ({"a": "x" * scoreboard.LONGEST_TEXTS}, {"a": [""] * scoreboard.MOST_TEXTS}):
        with pytest.raises(OSError, match="File too large"):
            board.set_texts(**texts)
    assert reader.texts() == {"a": "before"}


def test_texts_whose_place_is_forged_are_written_where_texts_are(board):
    board.words[scoreboard.TEXTS_AT], board.words[scoreboard.TEXTS_LENGTH] = 1 << 60, 9
    again = Board(board.fd)
    again.set_texts(a="b")
    assert again.words[scoreboard.TEXTS_AT] == scoreboard.SIZE


def test_texts_are_replaced_whole(board, reader):
    board.set_texts(a="x" * 1000, b="y")
    board.set_texts(b="z=1")
    assert reader.texts() == {"b": "z=1"}


def test_a_line_break_in_a_text_does_not_make_another_text(board, reader):
    board.set_texts(a="one\nb=two", c="three\0d=four")
    assert reader.texts() == {"a": "one\nb=two", "c": "three d=four"}


def test_a_path_that_is_not_utf8_comes_back(board, reader):
    path = os.fsdecode(b"/etc/\xff.conf")
    board.set_texts(config_file=path)
    assert reader.texts() == {"config_file": path}


def test_long_texts_are_not_cut_and_spoil_nothing(board, reader):
    record(board, "peer", 1)
    for length in (1, 20_000, 3_000_000, 2):
        board.set_texts(a="1", b="ü" * length, c="3")
        assert reader.texts() == {"a": "1", "b": "ü" * length, "c": "3"}
    assert shown(reader) == [(1, "peer")]


@contextlib.contextmanager
def writer(reader, write):
    """Have another process call `write` again and again, as long as the `with` block lasts and this one lives."""
    parent = os.getpid()

    def run():
        while os.getppid() == parent:
            write()

    pid = fork(run)
    try:
        wait_for(lambda: reader.words[scoreboard.SEQUENCE] > 10, "the writer")
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        reap(pid)


def test_texts_are_never_torn_while_another_process_writes_them(board, reader):
    count = [0]

    def write():
        count[0] += 1
        board.set_texts(a=str(count[0]), b="x" * 12_000, c=str(count[0]))

    with writer(reader, write):
        seen: set[str] = set()

        def read():
            for _ in range(100):
                texts = reader.texts()
                assert texts["a"] == texts["c"]
                assert texts["b"] == "x" * 12_000
                seen.add(texts["a"])
            return len(seen) > 200

        wait_for(read, "200 texts")


def test_what_a_reader_sees_is_of_one_moment_while_clients_come_and_go(board, reader):
    slots: list[int] = []
    free = [board.take() for _ in range(12)]

    def write():
        board.begin()
        for _ in range(8):
            slot = free.pop()
            board.record(slot, 1 + slot, "192.0.2.1:7")
            slots.append(slot)
        board.end()
        for slot in slots:  # the children's stores, which no sequence tells of
            board.words[slot + RECEIVED] = 100
            board.words[slot + SENT] = 100
        board.begin()
        while len(slots) > 4:
            free.append(slots[0])
            board.remove(slots.pop(0))
        board.end()
        time.sleep(0.0002)  # a fork of the server's takes as long

    with writer(reader, write):
        moments: set[int] = set()
        before = (0, 0, 0, 0)

        def read():
            nonlocal before
            for _ in range(100):
                copy = reader.copy()
                clients = copy.clients()
                assert len(clients) == copy.words[ACCEPTED] - copy.words[CLOSED]
                assert len(clients) in (0, 4, 8, 12)
                now = (
                    copy.words[ACCEPTED],
                    copy.words[CLOSED],
                    copy.words[BYTES_IN] + sum(client[4] for client in clients),
                    copy.words[BYTES_OUT] + sum(client[5] for client in clients),
                )
                assert all(new >= old for new, old in zip(now, before, strict=True)), (before, now)
                before = now
                moments.add(copy.words[ACCEPTED])
            return len(moments) > 200

        wait_for(read, "200 moments")


def test_where_a_child_has_crashed_is_not_overwritten_by_its_peer(board):
    slot = board.take()
    board.write_text(slot, "KeyError session.py:85")
    board.record(slot, 4711, "192.0.2.7:51514")
    assert board.read_text(slot) == "KeyError session.py:85"
    remove(board, slot)
    board.record(slot, 4712, "192.0.2.7:51515")
    assert board.read_text(slot) == "192.0.2.7:51515"
