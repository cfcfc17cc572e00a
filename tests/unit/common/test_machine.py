from __future__ import annotations

import errno
import mmap
import os
import posix

import pytest

from echod.common import machine, scoreboard
from echod.common.machine import nameless_file, take_room
from support.processes import isolated

FAULTS = {"missing": None, "ENOSYS": errno.ENOSYS, "EPERM": errno.EPERM}


def lose(monkeypatch, name, error):
    """Let a call be missing (None), or fail with an errno."""

    def fail(*_args):
        raise OSError(error, os.strerror(error))

    if error is None:
        monkeypatch.delattr(posix, name)
    else:
        monkeypatch.setattr(posix, name, fail)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_without_memfd_create_has_no_name_either(monkeypatch, tmp_path, fault):
    lose(monkeypatch, "memfd_create", FAULTS[fault])
    monkeypatch.setattr(machine, "DIRECTORIES", ("/nonexistent", str(tmp_path)))
    fd = nameless_file("state")
    try:
        assert os.pwrite(fd, b"x", 0) == 1
        assert not os.get_inheritable(fd)
        assert os.fstat(fd).st_nlink == 0
        assert os.fstat(fd).st_mode & 0o777 == 0o600
        assert list(tmp_path.iterdir()) == []
    finally:
        os.close(fd)


def test_without_a_directory_the_error_names_them(monkeypatch):
    lose(monkeypatch, "memfd_create", None)
    monkeypatch.setattr(machine, "DIRECTORIES", ("/nonexistent", "/proc"))
    with pytest.raises(OSError, match=r"no memfd_create.2., and no file in /nonexistent, /proc: "):
        nameless_file("state")


def test_an_error_of_memfd_create_is_raised(monkeypatch):
    lose(monkeypatch, "memfd_create", errno.EMFILE)
    with pytest.raises(OSError, match="Too many open files"):
        nameless_file("state")


@pytest.mark.parametrize("fault", [*FAULTS, "EOPNOTSUPP"])
def test_room_is_taken_without_fallocate(monkeypatch, tmp_path, fault):
    lose(monkeypatch, "posix_fallocate", (FAULTS | {"EOPNOTSUPP": errno.EOPNOTSUPP})[fault])
    with open(tmp_path / "file", "w+b") as file:
        scoreboard.initialize(file.fileno(), 100)
        wanted = scoreboard.SLOTS_AT + 100 * scoreboard.SLOT
        assert os.fstat(file.fileno()).st_blocks * 512 >= wanted
        assert os.fstat(file.fileno()).st_size >= scoreboard.SIZE
        before = os.pread(file.fileno(), scoreboard.SIZE, 0)
        assert before.strip(b"\0")


def test_what_others_have_written_stays(monkeypatch, tmp_path):
    """A reload takes more room while children write to the slots that they have."""
    with open(tmp_path / "file", "w+b") as file:
        scoreboard.initialize(file.fileno(), 100)
        board = mmap.mmap(file.fileno(), scoreboard.SIZE)
        words = memoryview(board).cast("q")
        slot_words = scoreboard.SLOT // scoreboard.WORD_SIZE
        for slot in range(100):
            at = scoreboard.SLOTS_AT // scoreboard.WORD_SIZE + slot * slot_words
            words[at : at + scoreboard.ENDED + 1] = memoryview(b"\xff" * 8 * (scoreboard.ENDED + 1)).cast("q")
            start = scoreboard.SLOTS_AT + slot * scoreboard.SLOT + scoreboard.PEER_AT
            board[start : start + scoreboard.PEER_ROOM] = b"p" * scoreboard.PEER_ROOM
        before = board[:]
        lose(monkeypatch, "posix_fallocate", None)
        scoreboard.allocate(file.fileno(), 1000)
        assert board[:] == before
        words.release()
        board.close()
        assert os.fstat(file.fileno()).st_blocks * 512 >= scoreboard.SLOTS_AT + 1000 * scoreboard.SLOT


def test_no_room_is_an_error(monkeypatch):
    lose(monkeypatch, "posix_fallocate", errno.ENOSPC)
    fd = os.memfd_create("file")
    with pytest.raises(OSError, match="No space left"):
        take_room(fd, 0, 4096, 0)
    os.close(fd)


def test_the_name_of_the_file_cannot_be_foreseen(monkeypatch, tmp_path):
    """Otherwise another user could make it first, in a directory for everyone."""
    names: list[str] = []
    lose(monkeypatch, "memfd_create", None)

    def check():
        monkeypatch.setattr(machine, "DIRECTORIES", (str(tmp_path),))
        monkeypatch.setattr(posix, "unlink", names.append)
        for _ in range(2):
            os.close(nameless_file("state"))
        assert len(set(names)) == 2
        assert all(os.stat(name).st_size == 0 for name in names)

    isolated(check)
