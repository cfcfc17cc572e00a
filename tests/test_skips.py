"""What tests need: each program has its package, each skip its reason, and a run ends with both."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from support import packages
from support.packages import PACKAGE_OF_TOOL, TOOLS_OF_PACKAGE, skip_summary
from support.wait import need, need_module

TESTS = Path(__file__).parent
# Of .ci/packages.txt, what no test asks for by name, what runs the tests and what programs load.
PYTHON = {"make", "python3", "python3-venv"}
LIBRARIES = {"libbsd0", "libevent-2.1-7", "python3-daemon", "python3-lockfile", "python3-tqdm"}
SOURCES = [path for path in TESTS.rglob("*.py") if path.name not in ("wait.py", Path(__file__).name)]


def calls(path):
    """Yield the name of what a module calls, and the call."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_the_list_of_packages_is_the_tables():
    listed = {line for line in (TESTS.parent / ".ci/packages.txt").read_text().splitlines() if not line.startswith("#")}
    assert listed == (TOOLS_OF_PACKAGE.keys() | PYTHON | LIBRARIES) - packages.CONFLICTS.keys()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(TESTS)))
def test_a_module_asks_for_programs_of_the_table_and_gives_no_reasons_of_its_own(path):
    for name, call in calls(path):
        if name == "need" and isinstance(call.args[0], ast.Constant):
            assert call.args[0].value in PACKAGE_OF_TOOL
        assert name not in ("pytest.skip", "pytest.importorskip")
        if name == "pytest.mark.skipif":
            (reason,) = [keyword.value.value for keyword in call.keywords if keyword.arg == "reason"]
            assert reason.startswith("needs ")


def test_a_program_without_a_package_is_a_mistake():
    with pytest.raises(AssertionError, match=r"support/packages\.py"):
        need("a-program-of-no-package")


@pytest.fixture
def only_ncat(monkeypatch):
    """Let ncat be the one program of the table that the machine has."""
    monkeypatch.setattr(packages, "find", lambda tool: "/usr/bin/ncat" if tool == "ncat" else None)


@pytest.mark.usefixtures("only_ncat")
def test_the_summary_has_a_line_for_each_reason_and_one_command():
    counts = Counter({"needs strace": 2, "needs IPv6": 1, "needs root": 30, "needs xinetd": 1, "needs inetd": 1})
    assert skip_summary(counts, whole=False) == [
        "  30 tests skipped: needs root",
        "   2 tests skipped: needs strace",
        "   1 test skipped: needs IPv6",
        "   1 test skipped: needs xinetd",
        "   1 test skipped: needs inetd",
        "To run them: apt-get install strace xinetd",
        "To run those that need root: make test as root",
    ]


@pytest.mark.usefixtures("only_ncat")
def test_after_the_whole_suite_the_command_has_what_other_reasons_hide():
    (command,) = [line for line in skip_summary(Counter({"needs strace": 1}), whole=True) if "apt-get" in line]
    assert set(command.partition("install ")[2].split()) == TOOLS_OF_PACKAGE.keys() - {"ncat", "openbsd-inetd"}


def test_without_skips_nothing_is_said():
    assert skip_summary(Counter(), whole=True) == []


EXAMPLE = """\
import pytest
from support.wait import need, skip

@pytest.mark.parametrize("number", range(3))
def test_one(number):
    need("shellcheck")

def test_other():
    skip("a moon")
"""


@pytest.fixture(params=["alone", "distributed"])
def run(request, tmp_path):
    """Return a function that runs tests where PATH has no program, in one process or distributed to two."""
    if request.param == "distributed":
        need_module("xdist")
    words = ["-n2"] if request.param == "distributed" else []
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "conftest"]
    command += ["-c", str(TESTS.parent / "pyproject.toml")]
    path = tmp_path / "test_example.py"
    path.write_text(EXAMPLE)

    def run(**environ):
        kept = {key: value for key, value in os.environ.items() if key not in ("PATH", "ECHOD_REQUIRE_TOOLS")}
        kept = {key: value for key, value in kept.items() if not key.startswith(("PYTEST", "COV"))}
        return subprocess.run(
            [*command, *words, path],
            cwd=TESTS.parent,
            env=kept | {"PATH": str(tmp_path), "PYTHONPATH": str(TESTS)} | environ,
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.skipif(
    os.path.exists("/usr/sbin/shellcheck"), reason="needs shellcheck in no directory of root's programs"
)
def test_a_run_ends_with_the_reasons_and_the_command(run):
    done = run()
    assert done.returncode == 0, done
    last = done.stdout.splitlines()[-4:]
    assert last[:3] == [
        "   3 tests skipped: needs shellcheck",
        "   1 test skipped: needs a moon",
        "To run them: apt-get install shellcheck",
    ]
    assert re.match("4 skipped in ", last[3])


def test_where_tools_are_required_one_that_is_missing_fails(run):
    done = run(ECHOD_REQUIRE_TOOLS="1")
    assert "3 failed, 1 skipped in " in done.stdout
    assert "needs shellcheck" in done.stdout
