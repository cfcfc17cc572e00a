"""Where things are: each module has a unit test, and each test that a page names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from support.daemon import SOURCE

UNIT = Path(__file__).parent / "unit"
FOLDERS = ("cli", "server", "session", "log", "common", "echoc")
MODULES = [
    path.relative_to(SOURCE)
    for folder in FOLDERS
    for path in sorted((SOURCE / folder).rglob("*.py"))
    if not path.stem.startswith("__")
]


def imported(path):
    """Return the modules of echod that a file imports, each as `a.b.c`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("echod"):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


IMPORTED = {
    name for folder in (UNIT, UNIT.parent / "support") for path in folder.rglob("*.py") for name in imported(path)
}
# Unit tests run these as programs.
PROGRAMS = {"server/boot.py", "echoc/cli.py", "echoc/check.py", "echoc/transfer.py"}


@pytest.mark.parametrize("module", MODULES, ids=map(str, MODULES))
def test_a_module_is_imported_by_a_unit_test(module):
    assert str(module) in PROGRAMS or ".".join(("echod", *module.with_suffix("").parts)) in IMPORTED


@pytest.mark.parametrize("page", ["docs/reliability.md", "SECURITY.md"])
def test_the_tests_that_a_page_names_are_there(page):
    tests = UNIT.parent
    for file, name in re.findall(
        r"`((?:unit|system|faults|elsewhere|fuzz)/[\w/]+\.py)(?:::(\w+))?`", (tests.parent / page).read_text()
    ):
        assert re.search(rf"^ *(def|class) {name}|^{name} =", (tests / file).read_text(), re.MULTILINE), (file, name)


def test_the_table_of_contributing_has_each_folder_of_tests():
    text = (UNIT.parent.parent / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`tests/(\w+)/", text))
    assert named == {path.parent.name for path in UNIT.parent.glob("*/*.py")} | {"unit"}
