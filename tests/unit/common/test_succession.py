from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.common.errors import EchodError
from echod.common.items import write_items
from echod.common.succession import FORMAT, Answer, Succession

NUMBERS = st.integers(0, 2**31 - 1)
CHILDREN = st.lists(
    st.tuples(
        NUMBERS,
        NUMBERS,
        st.sampled_from([0, 1]),
        st.sampled_from([("192.0.2.7", 7), ("fe80::1", 7, 0, 3), ("::ffff:192.0.2.7", 1, 0, 0)]),
    )
)
TEXTS = st.binary().map(lambda raw: raw.replace(b"\0", b"\n").decode(errors="surrogateescape"))


def taken(items):
    """Return what a new version takes from a file with these items, which it closes."""
    fd = os.memfd_create("state")
    write_items(fd, items)
    return Succession.take(["log=syslog", f"state_fd={fd}"])


@given(CHILDREN, st.lists(TEXTS), st.lists(NUMBERS), NUMBERS)
def test_what_is_handed_over_arrives(children, settings, sockets, number):
    values = {
        "version": "0.1",
        "oom_fd": number,
        "lost": number,
        "again": 1,
        "sockets": tuple(sockets),
        "settings": tuple(settings),
        "children": tuple(children),
    }
    fd = os.memfd_create("state")
    Succession(**values | {"settings": ("longer=before",) * 9}).write(fd)
    Succession(**values).write(fd)
    found = Succession.take([f"state_fd={fd}"])
    assert found
    assert {name: getattr(found, name) for name in values} == values
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_after_a_start_there_is_none():
    assert Succession.take(["log=syslog"]) is None


def test_what_is_not_known_yet_is_skipped():
    found = taken([f"format={FORMAT}", "color=blue", "version=9", "word"])
    assert found
    assert found.version == "9"


@pytest.mark.parametrize("items", [["version=9"], [f"format={FORMAT + 1}", "version=9"], []])
def test_another_format_is_an_error(items):
    with pytest.raises(EchodError, match=r"hands over format \d+, not \d+; use restart"):
        taken(items)


@pytest.mark.parametrize("item", ["oom_fd=x", "child=1 2", "child=1 2 0 host x", "socket="])
def test_what_cannot_be_read_is_an_error(item):
    with pytest.raises(EchodError, match="cannot be read: "):
        taken([f"format={FORMAT}", item])


def test_a_file_that_is_cut_anywhere_is_an_error():
    fd = os.memfd_create("state")
    Succession(version="1", settings=("log=a\nb",), children=((1, 2, 0, ("h", 7)),)).write(fd)
    for length in range(os.fstat(fd).st_size - 1, -1, -1):
        os.ftruncate(fd, length)
        with pytest.raises(EchodError, match="cannot be read: it is truncated; use restart"):
            Succession.take([f"state_fd={fd}"])
    os.close(fd)


@given(st.integers(0, 255), TEXTS, st.lists(TEXTS))
def test_an_answer_arrives(code, why, settings):
    found = Answer.from_items(Answer(code=code, why=why, settings=tuple(settings)).to_items())
    assert (found.code, found.why, found.settings) == (code, why, tuple(settings))
