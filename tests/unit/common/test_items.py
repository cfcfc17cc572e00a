from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.common.items import Items, decode, encode, read_items, write_items

# Any bytes but NUL, as paths and arguments come into a program.
TEXTS = st.binary().map(lambda raw: raw.replace(b"\0", b"\n").decode(errors="surrogateescape"))


@given(st.lists(TEXTS))
def test_any_items_arrive(items):
    assert decode(encode(items)) == items


@pytest.mark.parametrize("count", [0, 1, 20_000])
def test_a_file_holds_any_number_of_items_of_any_length(count):
    fd = os.memfd_create("items")
    for items in (
        ["x" * 1_000_000, *["y" * 100, ""] * count],
        ["\n"] * count,
        [],
    ):  # each is shorter than the one before
        write_items(fd, items)
        assert read_items(fd) == items
    os.close(fd)


@given(st.lists(TEXTS))
def test_what_is_truncated_at_any_byte_is_an_error(items):
    data = encode(items)
    for length in range(len(data)):
        with pytest.raises(ValueError, match="is truncated"):
            decode(data[:length])


@pytest.mark.parametrize(
    "data",
    [
        b"0\0x\0",  # more than the length
        b"2\0ab",  # no NUL at the end
        b"-1\0",
        b"+2\0a\0",
        b" 2\0a\0",
        b"\0",
        b"2\0a\0" * 2,  # one written after the other
        b"fit\n",
    ],
)
def test_what_nobody_has_written_so_is_an_error(data):
    with pytest.raises(ValueError, match="is truncated"):
        decode(data)


def test_an_item_with_a_nul_is_not_written():
    with pytest.raises(ValueError, match="has a NUL"):
        encode(["a\0b"])


class Pair(Items):
    text: str = "nothing"
    number: int = -1
    squares: tuple[int, ...] = ()

    LISTS = {"squares": ("square", lambda root: str(root**2), lambda text: round(int(text) ** 0.5))}  # noqa: RUF012


@given(TEXTS, st.integers(), st.lists(st.integers(0, 1000)))
def test_fields_arrive(text, number, squares):
    found = Pair.from_items(decode(encode(Pair(text=text, number=number, squares=tuple(squares)).to_items())))
    assert (found.text, found.number, found.squares) == (text, number, tuple(squares))


def test_a_default_needs_no_item():
    assert Pair().to_items() == []
    assert vars(Pair.from_items([])) == {}


@pytest.mark.parametrize("item", ["color=blue", "--trial", "", "=", "squares=1", "LISTS=1", "fields=1", "__doc__=x"])
def test_an_item_that_is_not_known_is_skipped(item):
    assert vars(Pair.from_items([item, "number=3", item])) == {"number": 3}


@pytest.mark.parametrize("item", ["number=x", "number=", "number", "square=two"])
def test_an_item_that_cannot_be_read_is_an_error(item):
    with pytest.raises(ValueError, match="invalid literal"):
        Pair.from_items([item])


def test_they_are_replaced_and_not_changed():
    pair = Pair(text="one")
    other = pair.replace(number=2)
    assert (pair.number, other.text, other.number) == (-1, "one", 2)
    with pytest.raises(AttributeError, match="replaced, not changed: number"):
        pair.number = 3
    with pytest.raises(TypeError, match="Pair has no numbers"):
        pair.replace(numbers=2)
