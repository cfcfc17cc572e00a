"""Output that cannot be written: one line on stderr and an exit code, whether Python buffers it or not."""

from __future__ import annotations

import os
import subprocess

import pytest

from echod.common.errors import USAGE
from support.daemon import ECHOD

ECHOC = os.path.join(os.path.dirname(ECHOD), "echoc")
FULL = {"echod": (1, "echod: No space left on device\n"), "echoc": (4, "echoc: output: No space left on device\n")}
CLOSED = {"echod": (1, ""), "echoc": (141, "echoc: output: broken pipe\n")}
CLOSED_STDOUT = {"echod": (1, "echod: Bad file descriptor\n"), "echoc": (4, "echoc: output: Bad file descriptor\n")}

ECHOD_WORDS = ["--help", "--version", "start --help", "check", "status --json", "status"]
ECHOC_WORDS = ["--help", "--version", "--check 127.0.0.1 1", "--verify -s 1 --pattern byte 127.0.0.1 1"]


@pytest.fixture(params=["buffered", "unbuffered"])
def environ(request):
    """Return an environment in which Python buffers its output, as it does for users, or does not."""
    unbuffered = {"PYTHONUNBUFFERED": "1"} if request.param == "unbuffered" else {}
    return {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"} | unbuffered


@pytest.fixture
def command(request, public):
    """Return a command line of a program, for whose daemon there is no pid file."""
    program, words = request.param
    if program == "echoc":
        return program, [ECHOC, *words.split()]
    config = public / "echod.conf"
    config.write_text(f"[echod]\nlisten = 127.0.0.1:0\npid_file = {public}/echod.pid\nlog = {public}/echod.log\n")
    return program, [ECHOD, "-c", str(config), *words.split()]


COMMANDS = pytest.mark.parametrize(
    "command",
    [*(("echod", words) for words in ECHOD_WORDS), *(("echoc", words) for words in ECHOC_WORDS)],
    indirect=True,
    ids=" ".join,
)


@COMMANDS
def test_to_a_full_device(command, environ):
    program, words = command
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, env=environ)
    assert (done.returncode, done.stderr) == FULL[program]


@COMMANDS
def test_to_a_pipe_that_no_process_reads(command, environ):
    program, words = command
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(words, stdout=write_end, stderr=subprocess.PIPE, text=True, env=environ)
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == CLOSED[program]


@pytest.mark.parametrize(
    "command",
    [
        ("echod", "--help"),
        ("echod", "--version"),
        ("echod", "start --help"),
        *(("echoc", words) for words in ECHOC_WORDS),
    ],
    indirect=True,
    ids=" ".join,
)
def test_to_a_closed_stdout(command, environ):
    """What was asked for is neither lost nor on stderr."""
    program, words = command
    shell = ["sh", "-c", '"$@" >&-', "sh", *words]
    done = subprocess.run(shell, capture_output=True, text=True, env=environ)
    assert (done.stdout, (done.returncode, done.stderr)) == ("", CLOSED_STDOUT[program])


def test_a_daemon_starts_with_all_descriptors_closed(echod):
    """Its output is not all that was asked for."""
    echod.write()
    shell = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *echod.command("start")]
    done = subprocess.run(shell, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert echod.status()["state"] == "running"


@pytest.mark.parametrize("command", [("echod", "bogus"), ("echoc", "--bogus")], indirect=True, ids=" ".join)
def test_an_error_to_a_full_device_changes_no_exit_code_to_120(command, environ):
    _, words = command
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=full, env=environ)
    assert done.returncode == USAGE
