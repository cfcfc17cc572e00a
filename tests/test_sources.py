"""The lessons in docs/sources.md are named where they are done, and no other of the books is named in the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.daemon import SOURCE

TABLE = (Path(__file__).parents[1] / "docs/sources.md").read_text()
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]+) \| `([^`]+)` \| ([^|]+) \|$", TABLE, re.MULTILINE)
LISTED = {(name, source) for _, sources, name, _ in ROWS for source in sources.split(", ")}
BOOKS = re.compile(r"(?:UNP|TLPI) [\d.]*\d")


def test_the_table_is_read() -> None:
    assert len(ROWS) == len(TABLE.splitlines()) - 7


@pytest.mark.parametrize(("name", "source"), sorted(LISTED))
def test_a_source_is_named_in_its_file(name: str, source: str) -> None:
    assert source in (SOURCE / name).read_text()


def test_a_book_that_is_named_is_in_the_table() -> None:
    named = {
        (str(path.relative_to(SOURCE)), source)
        for path in SOURCE.rglob("*.py")
        for source in BOOKS.findall(path.read_text())
    }
    assert named <= LISTED
