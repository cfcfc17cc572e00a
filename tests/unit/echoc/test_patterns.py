from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.echoc.data import SPAN_BYTES
from echod.echoc.faults import UsageError
from echod.echoc.patterns import PATTERNS, named

if TYPE_CHECKING:
    from echod.echoc.patterns import Pattern

patterns = st.sampled_from(PATTERNS)


@given(patterns, st.integers(min_value=1, max_value=1 << 18), st.integers())
def test_the_chunks_make_up_the_size(pattern: Pattern, size: int, seed: int) -> None:
    chunks = list(pattern.chunks(size, random.Random(seed)))
    assert sum(chunks) == size
    assert all(1 <= chunk <= (pattern.chunk or SPAN_BYTES) for chunk in chunks)
    assert chunks == list(pattern.chunks(size, random.Random(seed)))


@given(patterns, st.integers(min_value=1, max_value=1 << 40))
def test_all_tries_together_send_no_more_than_is_wanted(pattern: Pattern, wanted: int) -> None:
    size = pattern.size(wanted)
    assert size >= 1
    assert size * pattern.tries <= max(wanted, pattern.tries)
    assert pattern.limit is None or size <= pattern.limit


def test_random_writes_are_of_all_sizes() -> None:
    (pattern,) = named("random")
    chunks = list(pattern.chunks(64 << 20, random.Random(1)))
    assert min(chunks) < 10
    assert max(chunks) > SPAN_BYTES // 2


def test_patterns_are_named_in_any_case_and_order() -> None:
    assert [pattern.name for pattern in named("late-reader, 1mib,BYTE")] == ["late-reader", "1MiB", "byte"]


@pytest.mark.parametrize("text", ["bite", "", "byte,", "byte,,random"])
def test_an_unknown_name_is_a_usage_error_that_lists_those_there_are(text: str) -> None:
    with pytest.raises(UsageError, match=", ".join(pattern.name for pattern in PATTERNS)):
        named(text)
