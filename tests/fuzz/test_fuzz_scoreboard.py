"""Whatever is in the scoreboard's file, which the daemon's user can write: `status` shows or refuses it."""

from __future__ import annotations

import struct
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from echod.common import scoreboard
from fuzz.inputs import check_board, few_or_many

EDGES = (0, 1, 2, 3, -1, 2**31, 2**63 - 1, -(2**63))
words = st.lists(st.one_of(st.sampled_from(EDGES), st.integers(-(2**63), 2**63 - 1)), min_size=40, max_size=40)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    """A reader waits a millisecond for a writer, a thousand times: texts that are written for ever take that long."""
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)


def board(counters, texts, slots):
    """Return a scoreboard's bytes: the right version, and else what is given."""
    head = struct.pack("q39q", scoreboard.VERSION, *counters[1:40])
    return head.ljust(scoreboard.TEXT_AT, b"\0") + texts.ljust(scoreboard.SLOTS_AT - scoreboard.TEXT_AT, b"\0") + slots


sizes = st.sampled_from([0, 1, 4096, scoreboard.SIZE - 1, scoreboard.SIZE, scoreboard.SIZE + 1])


@few_or_many
def test_any_file_of_any_size(tmp_path, examples):
    @examples
    @given(st.binary(max_size=300), sizes)
    @example(b"", 0)
    def check(content, size):
        assert check_board(tmp_path, content, size) is None

    check()


@few_or_many
def test_any_content_under_the_right_version(tmp_path, examples):
    @examples
    @given(words, st.binary(max_size=scoreboard.TEXT_ROOM), st.binary(max_size=4 * scoreboard.SLOT))
    @example([-1] * 40, b"\xff" * scoreboard.TEXT_ROOM, b"\xff" * 4 * scoreboard.SLOT)
    @example([2**63 - 1] * 40, b"listen=\x1b[2J,\xc2\x85\nlast_reload=\r", b"\x7f" * 4 * scoreboard.SLOT)
    @example([-(2**63)] * 40, b"=\n=\n\n", b"\x80" * 4 * scoreboard.SLOT)
    @example([0] * 40, b"", b"")
    @example([0] * 40, b"listen=a:" + b"9" * 5000, b"")
    def check(counters, texts, slots):
        assert check_board(tmp_path, board(counters, texts, slots), scoreboard.SIZE) is not None

    check()
