"""`make cost`: each trick can be taken out of the source as it is, and its figures are in one place."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE / "benchmarks"))  # its scripts import each other

import cost  # noqa: E402
import meter  # noqa: E402
from generator import BenchmarkError  # noqa: E402
from meter import Faults  # noqa: E402
from peers import PEERS  # noqa: E402
from tricks import TRICKS, changed, trick  # noqa: E402

PACKAGE = HERE / "src" / "echod"
PERFORMANCE = HERE / "docs" / "performance.md"


@pytest.mark.parametrize("each", TRICKS, ids=lambda each: each.name)
def test_a_trick_can_be_taken_out_of_the_source(each):
    for path, text in changed(each, str(PACKAGE)).items():
        assert ast.dump(ast.parse(text)) != ast.dump(ast.parse(Path(path).read_text())), "only a comment has changed"


@pytest.mark.parametrize(("old", "found"), [("no such text", 0), ("two", 2)])
def test_a_source_that_has_changed_is_an_error(tmp_path, old, found):
    (tmp_path / "a.py").write_text("one two two\n")
    with pytest.raises(BenchmarkError, match=f"holds this text {found} times"):
        changed(trick("a trick", ("a.py", old, "")), str(tmp_path))


def test_a_copy_is_without_the_trick_and_otherwise_the_same(tmp_path):
    original = tmp_path / "original"
    (original / "echod").mkdir(parents=True)
    (original / "echod" / "a.py").write_text("one two\n")
    (original / "echod" / "b.py").write_text("three\n")
    copy = Path(cost.copy_without(trick("a trick", ("a.py", "two", "2")), str(original), str(tmp_path / "copy")))
    assert {path.name: path.read_text() for path in (copy / "echod").iterdir()} == {
        "a.py": "one 2\n",
        "b.py": "three\n",
    }
    assert (original / "echod" / "a.py").read_text() == "one two\n"


def test_the_middle_round_counts_and_the_ends_are_kept():
    rounds = [Faults(3, 4), Faults(1, 2), Faults(30, 40)]
    assert meter.summary(rounds) == (Faults(3, 4), 3, 70)


def test_the_tables_have_a_row_for_each_server_and_each_trick():
    tricks = [trick("the first"), trick("the second")]
    burst = {cost.AS_IT_IS: 100, "the first": 116, "the second": 99, "smallest": 86, "textbook": 21}
    figures = {name: ([Faults(1, total - 1)], [Faults(2, total)]) for name, total in burst.items()}
    servers = cost.of_servers(figures, [PEERS[name] for name in ("echod", "smallest", "textbook")])
    assert [re.split(r" *\| *", line)[1:5] for line in servers.splitlines()[2:4]] == [
        ["echod, in a burst", "1.0", "99.0", "100.0"],
        ["smallest in Python, in a burst", "1.0", "85.0", "86.0"],
    ]
    rows = cost.of_tricks(figures, tricks).splitlines()[2:]
    assert [re.split(r" *\| *", row)[1:4] for row in rows] == [
        ["the first", "+16.0", "+16.0"],
        ["the second", "-1.0", "-1.0"],
    ]


def test_the_page_has_a_row_for_each_trick():
    block = cost.BLOCK.search(PERFORMANCE.read_text()).group()
    assert [row for row in TRICKS if f"| {row.name} " not in block] == [], "make cost WRITE=1"
    assert cost.replace(PERFORMANCE.read_text(), "text").count("text\n<!-- end") == 1


def test_a_page_without_a_place_for_them_is_an_error():
    with pytest.raises(BenchmarkError, match="comments around the figures"):
        cost.replace("# a page\n", "text")


SOURCES = [path.relative_to(HERE) for path in sorted(PACKAGE.rglob("*.py"))]
PAGES = [Path(name) for name in ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "README.md")]
FIGURE = re.compile(
    r"\d ?%(?!\w)[^\"']*$|page faults? (less|more|each|cheaper|a client)|\bfaults? a client|pages? more"
)


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=str)
def test_figures_of_cost_are_on_one_page(path):
    """A figure in a comment is remembered, not measured. README's are those of `make bench`, and of samples."""
    lines = (HERE / path).read_text().splitlines()
    found = [line for line in lines if FIGURE.search(line) and "lost (0%)" not in line]
    assert not found, "docs/performance.md has them all"
