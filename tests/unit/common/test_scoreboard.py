from __future__ import annotations

import contextlib
import mmap
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.common import scoreboard
from echod.common.errors import FAILED
from echod.common.items import encode
from echod.common.reasons import REASONS
from echod.common.scoreboard import LONGEST_TEXTS, SIZE, SLOT, SLOTS_AT, TEXT_ROOM, WORD_SIZE, Copy, Scoreboard
from support.processes import CLONE_NEWNS, isolated, mount, namespaces
from support.wait import need_root

# Any bytes but NUL, as paths and arguments come into a program.
TEXTS = st.binary().map(lambda raw: raw.replace(b"\0", b"\n").decode(errors="surrogateescape"))


@pytest.fixture
def file():
    """Return a descriptor of a new scoreboard with room for 8 clients."""
    with tempfile.TemporaryFile() as file:
        scoreboard.initialize(file.fileno(), 8)
        yield file.fileno()


def test_a_new_one_says_that_a_daemon_is_starting(file):
    reader = Scoreboard(file)
    assert reader.words[scoreboard.MAGIC] == scoreboard.VERSION
    assert reader.words[scoreboard.STATE] == scoreboard.STARTING
    assert reader.words[scoreboard.GENERATION] == 1
    assert reader.words[scoreboard.DRAIN_MS] == scoreboard.NEVER
    assert reader.words[scoreboard.PID] == 0
    assert reader.copy().clients() == []
    assert reader.texts() == {}


def test_a_reader_cannot_write(file):
    reader = Scoreboard(file)
    with pytest.raises(TypeError):
        reader.words[scoreboard.PID] = 1
    with pytest.raises(TypeError):
        reader.copy().words[scoreboard.PID] = 1
    assert reader.words[scoreboard.PID] == 0


def test_a_file_that_is_too_short_is_no_scoreboard():
    with tempfile.TemporaryFile() as empty, pytest.raises(ValueError, match="too short"):
        Scoreboard(empty.fileno())


def test_a_pipe_is_no_scoreboard():
    read_end, write_end = os.pipe()
    for fd in (read_end, write_end):
        with pytest.raises(ValueError, match="too short"):
            Scoreboard(fd)
        os.close(fd)


def test_a_file_that_is_cut_short_meanwhile_reads_as_zeros(file):
    reader = Scoreboard(file)
    assert reader.words[scoreboard.GENERATION] == 1
    os.ftruncate(file, 0)  # SIGBUS, were it mapped
    assert reader.words[scoreboard.GENERATION] == 0
    assert reader.copy().clients() == []
    assert reader.texts() == {}


def test_it_takes_the_room_that_its_clients_need_and_not_much_more(file):
    status = os.fstat(file)
    assert status.st_size == SIZE + 2 * TEXT_ROOM
    assert scoreboard.space(8) <= status.st_blocks * 512 <= 64 << 10


@pytest.mark.parametrize("max_children", [1, 4000, scoreboard.MOST_CHILDREN])
def test_more_room_is_taken_and_what_was_there_stays(file, max_children):
    os.pwrite(file, b"peer", SLOTS_AT + 64)
    scoreboard.allocate(file, max_children)
    status = os.fstat(file)
    assert status.st_blocks * 512 >= SLOTS_AT + max_children * SLOT
    assert status.st_size >= SIZE, "a mapping of it would fault"
    assert os.pread(file, 4, SLOTS_AT + 64) == b"peer"
    assert Scoreboard(file).words[scoreboard.MAGIC] == scoreboard.VERSION


def test_where_there_is_no_room_it_is_an_error_and_no_store_faults(tmp_path):
    need_root()

    def check():
        mount(b"tmpfs", tmp_path, b"size=256k")
        fd = os.open(tmp_path / "scoreboard", os.O_RDWR | os.O_CREAT)
        scoreboard.initialize(fd, 1000)
        with mmap.mmap(fd, SIZE) as stored:
            with pytest.raises(OSError, match="No space left on device"):
                scoreboard.allocate(fd, 10_000)
            ballast = os.open(tmp_path / "ballast", os.O_WRONLY | os.O_CREAT)
            with contextlib.suppress(OSError):
                while True:
                    os.write(ballast, bytes(4096))
            for at in range(SLOTS_AT, SLOTS_AT + 1000 * SLOT, SLOT):
                stored[at] = 1  # SIGBUS, were the page not there
        full = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
        with pytest.raises(OSError, match="No space left on device"):
            scoreboard.initialize(full, 1)

    namespaces(CLONE_NEWNS, check)


def test_a_limit_on_the_size_of_files_is_an_error(tmp_path):
    def check():
        fd = os.open(tmp_path / "scoreboard", os.O_RDWR | os.O_CREAT)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, resource.RLIM_INFINITY))
        with pytest.raises(OSError, match="File too large"):
            scoreboard.initialize(fd, 1)

    isolated(check)


class Raw:
    """A scoreboard's bytes, to be filled by hand."""

    def __init__(self, slots=3):
        self.bytes = bytearray(SLOTS_AT + slots * SLOT)
        self.words = memoryview(self.bytes).cast(scoreboard.WORD)

    def slot(self, number, *words, peer=b""):
        at = SLOTS_AT + number * SLOT
        for index, word in enumerate(words):
            self.words[at // WORD_SIZE + index] = word
        self.bytes[at + scoreboard.PEER_AT : at + scoreboard.PEER_AT + len(peer)] = peer


def test_a_copy_lists_the_slots_that_have_a_pid():
    raw = Raw()
    raw.slot(0, 11, 3, 5, 17, 9, 99, peer=b"192.0.2.1:7")
    raw.slot(1, 0, 3, 5, 17, 9, peer=b"gone")
    raw.slot(2, 12, peer=b"\xff" * 64)
    begun_at = time.monotonic_ns()
    first, second = Copy(bytes(raw.bytes)).clients()
    assert first == (11, "192.0.2.1:7", 9, 17, 5, 3)
    assert second[:2] == (12, "\ufffd" * 64)
    assert second[4:] == (0, 0)
    assert begun_at <= second[2] == second[3] <= time.monotonic_ns(), "its child has not begun: that is now"


def test_who_ended_by_no_other_reason_ended_with_the_fin():
    raw = Raw()
    for word, count in ((scoreboard.CLOSED, 10), (scoreboard.BY_IDLE, 2), (scoreboard.PROXY, 3)):
        raw.words[word] = count
    ends = Copy(bytes(raw.bytes)).ends()
    assert {reason: count for reason, count in ends.items() if count} == {"eof": 5, "idle": 2, "proxy": 3}
    assert set(ends) == {"proxy", *(reason.partition("=")[0] for reason in REASONS), "signal"}


def test_a_copy_is_of_one_moment(file):
    with mmap.mmap(file, SIZE) as stored:
        words = memoryview(stored).cast("B").cast(scoreboard.WORD)
        copy = Scoreboard(file).copy()
        words[scoreboard.ACCEPTED] = 7
        assert copy.words[scoreboard.ACCEPTED] == 0
        assert Scoreboard(file).copy().words[scoreboard.ACCEPTED] == 7
        words.release()


def test_a_damaged_count_of_slots_does_not_lead_a_reader_outside(file):
    os.pwrite(file, as_word(1 << 60), scoreboard.TOP * WORD_SIZE)
    assert Scoreboard(file).copy().clients() == []


def test_a_writer_that_was_killed_in_the_middle_keeps_no_reader_waiting_for_ever(file):
    put_texts(file, encode(["a=1"]))
    os.pwrite(file, as_word(1), scoreboard.SEQUENCE * WORD_SIZE)
    assert Scoreboard(file).texts() == {"a": "1"}


def as_word(number):
    """Return a word's bytes."""
    return number.to_bytes(WORD_SIZE, sys.byteorder, signed=True)


def put_texts(file, raw, at=SIZE, length=None):
    """Write texts as the server does, or others."""
    os.pwrite(file, raw, SIZE)
    os.pwrite(file, as_word(at) + as_word(len(raw) if length is None else length), scoreboard.TEXTS_AT * WORD_SIZE)


@given(st.one_of(st.binary(max_size=3000), st.lists(TEXTS).map(encode)))
def test_any_texts_can_be_read(raw):
    copy = Copy(bytes(SLOTS_AT), raw)
    for key in copy.texts():
        assert "=" not in key
    assert copy.version().isprintable()
    assert all(int(name.rpartition(":")[2]) < 100_000 for name in copy.listen())


@given(st.lists(TEXTS), st.lists(TEXTS), st.lists(TEXTS))
def test_lists_arrive_whatever_their_elements_hold(overrides, addresses, changes):
    lists = {"overrides": overrides, "addresses": addresses, "changes": changes}
    copy = Copy(bytes(SLOTS_AT), encode([f"{key}={text}" for key, texts in lists.items() for text in texts]))
    assert (copy.overrides(), copy.addresses(), copy.changes()) == (overrides, addresses, changes)


@pytest.mark.parametrize(
    ("at", "length"),
    [(0, 100), (-1, 100), (SIZE, -1), (SIZE, LONGEST_TEXTS + 1), (1 << 62, 100), (SIZE, 1 << 62), (SIZE - 1, 9)],
)
def test_words_that_lead_outside_the_texts_stand_for_no_texts(file, at, length):
    put_texts(file, encode(["a=1"]), at, length)
    assert Scoreboard(file).texts() == {}


def test_more_texts_than_any_server_has_are_none():
    assert Copy(bytes(SLOTS_AT), encode(["a=1"] * (scoreboard.MOST_TEXTS + 1))).texts() == {}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("127.0.0.1:7", True),
        ("[fe80::1%a,b]:65535", True),
        (f"127.0.0.1:{'9' * 5000}", False),
        ("127.0.0.1:", False),
        ("127.0.0.1:\u0663", False),
        ("", False),
    ],
)
def test_a_listener_whose_port_cannot_be_one_is_left_out(name, shown):
    assert Copy(bytes(SLOTS_AT), encode([f"listen={name}"])).listen() == [name] * shown


def test_a_version_reaches_no_terminal_as_it_was_forged():
    copy = Copy(bytes(SLOTS_AT), encode(["version=\x1b[2J\n" + "9" * 10_000]))
    assert copy.version().startswith("\\x1b[2J 999")
    assert len(copy.version()) == scoreboard.LONGEST_VERSION


@pytest.mark.parametrize("code", [8, -1, 1 << 40])
def test_a_code_that_no_command_ends_with_is_a_failure(file, code):
    os.pwrite(file, as_word(code), scoreboard.RELOAD_CODE * WORD_SIZE)
    assert Scoreboard(file).copy().code(scoreboard.RELOAD_CODE) == FAILED


def test_a_word_has_64_bits_also_where_a_long_has_32():
    program = "from echod.common import cmodules; cmodules.LONG = 4; from echod.common import scoreboard as board; "
    program += "import os; fd = os.memfd_create('board'); board.initialize(fd, 1, 4711); "
    program += "print(board.WORD, memoryview(bytes(8)).cast(board.WORD).itemsize, board.Scoreboard(fd).words[1])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "q 8 4711\n"


@given(st.binary(min_size=SLOT * 4, max_size=SLOT * 4))
def test_any_slots_can_be_read(raw):
    for pid, peer, begun, last, _, _ in Copy(bytes(SLOTS_AT) + raw).clients():
        assert pid
        assert begun
        assert last
        assert "\0" not in peer


def test_no_two_things_share_a_place():
    assert (scoreboard.TEXTS_LENGTH + 1) * WORD_SIZE <= scoreboard.REFUSED_PEER_AT
    assert scoreboard.REFUSED_PEER_AT + scoreboard.PEER_ROOM <= SLOTS_AT
    assert SLOTS_AT + scoreboard.MOST_CHILDREN * SLOT <= SIZE


def test_every_reason_to_refuse_a_client_has_a_counter_of_its_own():
    assert len(set(scoreboard.REFUSALS.values())) == len(scoreboard.REFUSALS)
    assert max(scoreboard.REFUSALS.values()) < scoreboard.DRAIN_MS < SLOTS_AT // WORD_SIZE
