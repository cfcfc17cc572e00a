"""Ctrl-C at any moment ends a command with one line, and never with a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from support.wait import DEADLINE

# Writes a line to descriptor 3 when the first instructions have been run, and before anything else is imported.
PROGRAM = """
import os, sys
import echod.__main__ as entry
load = entry.import_module
def tell_and_load(name):
    os.write({fd}, b".")
    os.close({fd})
    return load(name)
entry.import_module = tell_and_load
sys.argv[0] = {name!r}
sys.exit(entry.{name}())
"""
MOMENTS = [number * number / 1600 for number in range(16)]  # seconds, up to 140 ms


def interrupt(moment, name, *words):
    """Start a command, interrupt it, and return its exit code, stdout and stderr."""
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(fd=write_end, name=name), *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[write_end],
    )  # fmt: skip
    os.close(write_end)
    with process:
        assert os.read(read_end, 1) == b"."
        os.close(read_end)
        time.sleep(moment)  # the moment is what is tried
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE)
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize(
    "words",
    [["--ping", "-i", "0.01"], ["--verify", "-s", "1GiB"], ["--check"], ["--ping", "-c", "1"], [], ["--nonsense"]],
)
def test_echoc(running, words):
    host, port = running.address
    for moment in MOMENTS:
        code, out, err = interrupt(moment, "echoc", *words, f"{host}:{port}")
        lines = [line for line in err.splitlines() if not line.startswith("echoc: will send ")]
        assert lines == ["echoc: interrupted"] if code == 130 else len(lines) <= 1, err
        assert "Traceback" not in out + err


@pytest.mark.parametrize("words", [["status"], ["check"], ["reload"], ["status", "--nonsense"]])
def test_echod(running, words):
    for moment in MOMENTS[::2]:
        code, out, err = interrupt(moment, "echod", "-c", str(running.config), *words)
        lines = [line for line in err.splitlines() if not line.startswith("echod: warning: ")]
        assert lines == ["echod: interrupted"] if code == 130 else len(lines) <= 1, err
        assert "Traceback" not in out + err
    assert running.status()["state"] == "running"


# Is interrupted in a callback, whose exceptions are dropped: the import system has some.
CALLBACK = """
import os, signal, sys, types
import echod.__main__ as entry
class Dropped:
    def __del__(self):
        {dropped}
        sys.stdout.write("the rest of the callback")
def main():
    Dropped()
    return 7
entry.import_module = lambda name: types.SimpleNamespace(main=main)
sys.exit(entry.echod())
"""


def test_an_interrupt_in_a_callback_is_not_lost():
    code = CALLBACK.format(dropped="signal.raise_signal(signal.SIGINT)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "echod: interrupted\n")


def test_an_interrupt_while_a_class_is_made_is_one_line():
    code = CALLBACK.format(dropped="pass").replace(
        "    Dropped()\n",
        "    named = lambda *_: signal.raise_signal(signal.SIGINT)\n"
        "    type('Owner', (), {'x': type('Named', (), {'__set_name__': named})()})\n",
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "echod: interrupted\n")


def test_what_else_a_callback_raises_is_told():
    code = CALLBACK.format(dropped="raise ValueError('of a callback')")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 7
    assert "ValueError: of a callback" in done.stderr


@pytest.mark.parametrize("name", ["echoc", "echod"])
def test_who_started_it_in_the_background_has_it_ignored(running, name):
    words = ["--check", f"127.0.0.1:{running.port}"] if name == "echoc" else ["-c", str(running.config), "status"]
    program = os.path.join(os.path.dirname(sys.executable), name)
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what it starts with &
    try:
        process = subprocess.Popen([program, *words], stdout=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGINT, handler)
    with process:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE)
    assert process.returncode == 0


def test_a_package_that_is_missing_is_one_line(tmp_path):
    (tmp_path / "lockfile.py").write_text("raise ModuleNotFoundError('No module named lockfile', name='lockfile')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from echod.__main__ import echod; sys.exit(echod())"
    done = subprocess.run([sys.executable, "-c", code, "start"], capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 5, done.stderr
    assert done.stderr.startswith("echod: not installed: module lockfile, ")
    assert len(done.stderr.splitlines()) == 1
