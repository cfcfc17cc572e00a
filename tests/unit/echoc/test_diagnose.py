"""Whatever is done to the bytes, diagnose gives it its name and place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from echod.echoc.data import first_difference, seeded
from echod.echoc.diagnose import diagnose

if TYPE_CHECKING:
    from echod.echoc import Fault

SIZE = 1 << 18
DATA = seeded(1).from_point(4711)
SENT = bytes(DATA.view(0, SIZE))
places = st.integers(min_value=100, max_value=SIZE - 10_000)
lengths = st.integers(min_value=1, max_value=5000)


def verdict(answer: bytes) -> Fault:
    common = min(len(answer), SIZE)
    at = first_difference(answer[:common], SENT[:common])
    return diagnose(DATA, at, answer[at:], SIZE)


@given(places, st.integers(min_value=1, max_value=255))
def test_flip(at: int, mask: int) -> None:
    fault = verdict(SENT[:at] + bytes([SENT[at] ^ mask]) + SENT[at + 1 :])
    assert (fault.kind, fault.offset) == ("changed", at)
    assert fault.message == f"byte {at}: expected 0x{SENT[at]:02x}, got 0x{SENT[at] ^ mask:02x}"
    assert fault.expected == SENT[at : at + 16].hex()


def test_flip_of_the_last_byte() -> None:
    fault = verdict(SENT[:-1] + bytes([SENT[-1] ^ 0xFF]))
    assert (fault.kind, fault.offset) == ("changed", SIZE - 1)


# A byte lost from a run of equal ones is lost from any place in the run: hence the tolerance of a few.
@given(places, lengths)
def test_missing(at: int, length: int) -> None:
    fault = verdict(SENT[:at] + SENT[at + length :])
    assert fault.kind == "missing"
    assert fault.message.startswith("one byte missing" if length == 1 else f"{length} bytes missing")
    assert fault.offset in range(at, at + 5)


@given(places, lengths)
@example(1024, 1)  # the byte is also the last that is looked at
def test_duplicated(at: int, length: int) -> None:
    length = min(at, length)
    fault = verdict(SENT[:at] + SENT[at - length : at] + SENT[at:])
    assert fault.kind == "duplicated"
    assert fault.message.startswith("one byte dupl" if length == 1 else f"{length} bytes dupl")
    assert fault.offset in range(at, at + 5)


@given(places, lengths, lengths)
def test_swapped_blocks(at: int, first: int, second: int) -> None:
    a, b = SENT[at : at + first], SENT[at + first : at + first + second]
    answer = SENT[:at] + b + a + SENT[at + first + second :]
    if answer != SENT:
        fault = verdict(answer)
        assert fault.kind == "swapped"
        assert fault.offset in range(at, at + 5)


@pytest.mark.parametrize("length", [4, 16, 1000])
def test_every_pair_of_blocks_swapped(length: int) -> None:
    answer = b"".join(SENT[i + length : i + 2 * length] + SENT[i : i + length] for i in range(0, 100_000, 2 * length))
    assert verdict(answer).kind == "swapped"


@settings(max_examples=25)
@given(places, st.binary(min_size=16, max_size=200))
def test_inserted(at: int, rubbish: bytes) -> None:
    fault = verdict(SENT[:at] + rubbish + SENT[at:])
    assert fault.kind == "inserted"
    assert fault.offset in range(at, at + 17)


def test_more_than_was_sent() -> None:
    fault = verdict(SENT + b"bye")
    assert (fault.kind, fault.offset) == ("extra", SIZE)


def test_data_of_another_connection() -> None:
    other = bytes(DATA.from_point(600_000).view(0, 1000))
    assert verdict(SENT[:5000] + other).kind == "foreign"


def test_several_bytes_changed() -> None:
    fault = verdict(SENT[:1000] + bytes(50) + SENT[1050:])
    assert (fault.kind, fault.message[:18]) == ("changed", "50 bytes changed: ")
