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
    """Return a scoreboard's bytes: the right version, texts with their length before them, and else what is given."""
    texts = b"%d\0%b" % (len(texts), texts)
    counters = [scoreboard.VERSION, *counters[1:40], scoreboard.SIZE, len(texts)]
    head = struct.pack("42q", *counters).ljust(scoreboard.SLOTS_AT, b"\0")
    return (head + slots).ljust(scoreboard.SIZE, b"\0") + texts


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
    @given(words, st.binary(max_size=3000).map(lambda raw: raw + b"\0"), st.binary(max_size=4 * scoreboard.SLOT))
    @example([-1] * 40, b"\xff" * 3000 + b"\0", b"\xff" * 4 * scoreboard.SLOT)
    @example([2**63 - 1] * 40, b"listen=\x1b[2J\0version=\xc2\x85\x1b\0config_file=\n\0", b"\x7f" * 4 * scoreboard.SLOT)
    @example([-(2**63)] * 40, b"=\0=\0\0", b"\x80" * 4 * scoreboard.SLOT)
    @example([0] * 40, b"", b"")
    @example([0] * 40, b"listen=a:" + b"9" * 5000, b"")
    def check(counters, texts, slots):
        content = board(counters, texts, slots)
        assert check_board(tmp_path, content, len(content)) is not None

    check()
