"""The server's image does not come up: `start` says in one line what the interpreter said, or which signal ended it."""

from __future__ import annotations

import glob
import subprocess
import sys

import pytest

from support.processes import descriptors, servers

LOADER = (glob.glob("/lib64/ld-linux-*.so.*") + glob.glob("/lib/ld-linux-*.so.*"))[:1]


def run_start(echod, interpreter):
    """Run `start` with another interpreter for the server; return what it said."""
    code = (
        "import sys; from echod.cli import launch, main\n"
        f"launch.INTERPRETER = {interpreter!r}\n"
        "sys.exit(main.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "-c", str(echod.config), "start"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert not servers(echod)
    assert not echod.pid_file.exists()
    assert not (echod.home / "echod.pid.scoreboard").exists()
    return done.stderr


def start(echod, interpreter):
    said = run_start(echod, interpreter)
    assert said.startswith("echod: the server did not start")
    return said


@pytest.mark.skipif(not LOADER, reason="needs glibc")
def test_a_library_that_is_missing(echod):
    said = start(echod, [*LOADER, "--preload", "/nowhere/lib.so", "/nowhere/python"])
    assert "/nowhere/" in said
    assert "it ended with exit status 127" in said


def test_an_interpreter_without_its_library(echod):
    said = start(echod, ["/bin/sh", "-c", "echo 'init: error: no module named encodings' >&2; echo at >&2; exit 3"])
    assert said.endswith("not start; init: error: no module named encodings; it ended with exit status 3\n")


def test_a_signal(echod):
    assert "it was ended by SIGKILL" in start(echod, ["/bin/sh", "-c", "kill -KILL $$"])


def test_an_interpreter_that_is_gone(echod):
    assert run_start(echod, ["/nowhere/python"]) == "echod: /nowhere/python: No such file or directory\n"


def test_once_it_serves_its_stderr_is_dev_null(running):
    assert [descriptors(running.pid)[fd] for fd in range(3)] == ["/dev/null"] * 3
