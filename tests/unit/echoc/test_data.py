from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from echod.echoc.data import PERIOD_BYTES, SPAN_BYTES, seeded

DATA = seeded(1).from_point(4711)


@given(st.integers(min_value=0, max_value=1 << 40), st.integers(min_value=0, max_value=SPAN_BYTES))
def test_data_is_the_same_however_it_is_cut(offset: int, length: int) -> None:
    whole = bytes(DATA.view(offset, length))
    assert len(whole) == length
    assert whole[: length // 2] + bytes(DATA.view(offset + length // 2, length - length // 2)) == whole
    assert DATA.matches(memoryview(whole), offset)
    assert bytes(DATA.view(offset + PERIOD_BYTES, length)) == whole


def test_a_seed_is_a_stream_of_its_own() -> None:
    assert bytes(seeded(1).view(0, 100)) == bytes(seeded(1).view(0, 100))
    assert bytes(seeded(1).view(0, 100)) != bytes(seeded(2).view(0, 100))
