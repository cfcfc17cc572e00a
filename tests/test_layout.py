"""Where things are: a test file for each module, and none that is of no module."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.daemon import SOURCE

UNIT = Path(__file__).parent / "unit"
FOLDERS = ("cli", "server", "common", "echoc")
MODULES = [
    path.relative_to(SOURCE)
    for folder in FOLDERS
    for path in sorted((SOURCE / folder).rglob("*.py"))
    if not path.stem.startswith("__")
]


@pytest.mark.parametrize("module", MODULES, ids=map(str, MODULES))
def test_a_module_has_its_unit_tests_in_a_file_of_its_name(module):
    tests = [
        path for path in (UNIT / module.parts[0]).rglob(f"test_{module.stem}.py") if "def test_" in path.read_text()
    ]
    assert tests, f"tests/unit/{module.parts[0]}/test_{module.stem}.py"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_unit_test_is_of_a_module(folder):
    """`test_sockets_accept.py` is of `sockets.py`, too: where one file would be too long."""
    stems = {module.stem for module in MODULES if module.parts[0] == folder}
    for path in (UNIT / folder).rglob("test_*.py"):
        name = path.stem.removeprefix("test_")
        assert any(name == stem or name.startswith(f"{stem}_") for stem in stems), path.name


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
