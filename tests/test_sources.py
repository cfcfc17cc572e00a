"""The lessons in docs/sources.md are named where they are done, and no others; the tour quotes the code as it is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from support.daemon import SOURCE

DOCS = Path(__file__).parents[1] / "docs"
TABLE = (DOCS / "sources.md").read_text()
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]+) \| `([^`]+)` \| ([^|]+) \|$", TABLE, re.MULTILINE)
LISTED = {(name, source) for _, sources, name, _ in ROWS for source in sources.split(", ")}
BOOKS = re.compile(r"(?:UNP|TLPI) [\d.]*\d")
DIAGRAMS = re.findall(r"`src/echod/([\w/.]+)`:\n\n```text\n(.*?)```", (DOCS / "tour.md").read_text(), re.DOTALL)


def test_the_table_is_read() -> None:
    assert len(ROWS) == len(TABLE.splitlines()) - 8


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


def unindented(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


@pytest.mark.parametrize("name", ["server/server.py", "server/acceptor.py", "server/children.py"])
def test_the_tour_has_the_diagram_of_a_modules_states(name: str) -> None:
    docstring = ast.get_docstring(ast.parse((SOURCE / name).read_text())) or ""
    assert unindented(dict(DIAGRAMS)[name]) == unindented(docstring.split("\n\n")[1])
