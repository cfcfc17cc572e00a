"""Python without a module that a command needs, or with a stranger's of that name: one line names what brings it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from support.daemon import SOURCE

WITHOUT = """
import sys
hidden, function = sys.argv[1:3]
class Finder:
    @staticmethod
    def find_spec(name, path, target=None):
        if name == hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Finder)
import echod.__main__ as programs
sys.argv = [function, *sys.argv[3:]]
sys.exit(getattr(programs, function)())
"""
DISTRIBUTIONS = [
    ("daemon", "python-daemon", "python3-daemon", ("echod", "start")),
    ("lockfile", "lockfile", "python3-lockfile", ("echod", "stop")),
]
FOREIGN: dict[str, str | bytes] = {
    "it has another content": "SOMETHING = 1\n",
    "it raises an error": "raise RuntimeError('this is\\nanother')\n",
    "it is of Python 2": "print 'hello'\n",
    "it cannot be decoded": b"\xff\xfe\n",
}


def failed(done):
    """Return the one line of a command that ended with 5."""
    assert (done.returncode, done.stdout) == (5, ""), done
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def run_without(module, *words):
    """Run a program without a module."""
    command = [sys.executable, "-c", WITHOUT, module, *words]
    environment = os.environ | {"PYTHONPATH": str(SOURCE.parent)}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(("module", "distribution", "package", "words"), DISTRIBUTIONS)
def test_its_distribution_is_named(module, distribution, package, words):
    said = failed(run_without(module, *words))
    assert said.startswith(f"echod: not installed: no module {module}; ")
    assert f"`{sys.executable} -m pip install {distribution}`" in said
    assert (f"`apt-get install {package}`" in said) == os.path.exists("/etc/debian_version")


@pytest.mark.parametrize(("module", "words"), [("curses", ("status", "--watch")), ("fcntl", ("status",))])
def test_of_the_standard_library_this_python_was_built_without_it(module, words):
    said = failed(run_without(module, "echod", *words))
    assert module in said
    assert f"this Python, {sys.executable}, was built without it" in said
    assert "pip install" not in said


@pytest.mark.parametrize("content", FOREIGN)
@pytest.mark.parametrize("module", ["daemon", "lockfile"])
def test_a_strangers_module_is_named_with_its_path(tmp_path, module, content):
    text = FOREIGN[content]
    path = tmp_path / f"{module}.py"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{SOURCE.parent}"}
    command = [sys.executable, "-m", "echod", "start"]
    said = failed(subprocess.run(command, capture_output=True, text=True, env=environment))
    assert said.startswith("echod: not installed: ")
    assert str(path) in said
    assert "install " in said


def test_a_bug_of_our_own_is_not_called_a_module_that_is_missing(tmp_path):
    """Otherwise every error of an import would read as if something had to be installed."""
    (tmp_path / "sitecustomize.py").write_text("import echod.common.errors\ndel echod.common.errors.EchodError\n")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{SOURCE.parent}"}
    done = subprocess.run([sys.executable, "-m", "echod", "stop"], capture_output=True, text=True, env=environment)
    assert "not installed" not in done.stderr
    assert "EchodError" in done.stderr
