"""The plain lines of `status`, which are read without the grammar of all commands."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.cli.main import parse
from echod.cli.program import FORMS, plain

WORDS = st.sampled_from(
    [
        "status",
        "-c",
        "-o",
        "a=b",
        "/x",
        "-",
        "--",
        "",
        "--json",
        "--processes",
        "--js",
        "json",
        "--all",
        "-oa=b",
        "start",
    ]
)
# What a program that asks for the status every few seconds must not wait for.
NOT_FOR_STATUS = """argparse gettext locale lockfile tempfile shutil random json typing dataclasses inspect textwrap
    socket threading subprocess signal curses string echod.cli.main echod.cli.pidfile echod.cli.launch echod.log.log
    echod.cli.status.metrics echod.cli.status.examine echod.common.config.settings"""
ONLY_FOR = {"--json": ["json"], "--prometheus": ["echod.cli.status.metrics"], "": []}


def both(words):
    """Return what the two readers of a line make of it; the second is asked only if the first takes the line."""
    found = plain(words)
    if found is None:
        return None
    known = vars(parse(list(words)))
    known["later_options"] = []  # those after the command; `parse` has put them into `options`
    return vars(found), known


@pytest.mark.parametrize("form", [*(f"--{form}" for form in FORMS), None])
def test_plain_lines_are_read_as_the_parser_reads_them(form):
    words = ["-c", "/x", "-o", "a=b=c", "status", *([form] if form else []), "-o", "c=", "-c", "/y"]
    found, known = both(words)
    assert found == known
    assert found["options"] == ["a=b=c", "c="]


@given(st.lists(WORDS, max_size=6))
def test_any_line_is_read_as_the_parser_reads_it_or_left_to_it(words):
    result = both(words)
    assert result is None or result[0] == result[1]


@pytest.mark.parametrize(
    "line",
    ["", "start", "status --all", "status --js", "status --json --processes", "-c status", "-cx status",
     "--json status", "status status", "status -n 1", "-V", "status --help", "status -o", "status -o -x", "status --",
     "status x"],
)  # fmt: skip
def test_other_lines_are_left_to_the_parser(line):
    assert plain(line.split()) is None


@pytest.mark.parametrize("form", ONLY_FOR)
def test_what_status_must_not_load(running, form):
    """These take most of the time of a status, with the interpreter's own start."""
    line = ["echod", "-c", str(running.config), "status", *([form] if form else [])]
    code = f"import sys; sys.argv = {line}; from echod.__main__ import echod; echod(); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    before = subprocess.run(
        [sys.executable, "-I", "-c", "import sys; print(sorted(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {*ast.literal_eval(done.stdout.splitlines()[-1])} - {*ast.literal_eval(before.stdout)}
    assert loaded & {*NOT_FOR_STATUS.split()} == {*ONLY_FOR[form]}
