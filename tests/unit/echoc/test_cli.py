from __future__ import annotations

import os
import pty
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from support.kinds import StartEchoc

PYTHON = shlex.quote(sys.executable)


def test_interrupt(start_echoc: StartEchoc, echo_server: tuple[str, int]) -> None:
    process = start_echoc(*echo_server)
    process.stdin.write(b"ping")
    assert process.stdout.read(4) == b"ping"
    sender = psutil.Process(process.pid).children()[0]
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert process.stderr.read() == b"echoc: interrupted\n"
    assert not sender.is_running()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_descriptors(echo_server: tuple[str, int], closed: str) -> None:
    host, port = echo_server
    command = f"{PYTHON} -m echod.echoc {host} {port} {closed}"
    result = subprocess.run(
        ["sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


@pytest.mark.parametrize(("option", "code"), [("", 3), ("--unknown", 2)])
def test_without_a_stderr_errors_do_not_end_up_in_the_output(unused_port: int, option: str, code: int) -> None:
    command = f"{PYTHON} -m echod.echoc 127.0.0.1 {unused_port} {option} 2>&-"
    result = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (code, b"")


def read_until(descriptor: int, wanted: bytes) -> bytes:
    text = b""
    while wanted not in text:
        text += os.read(descriptor, 1024)
    return text


def test_interactive_on_a_terminal(start_echoc: StartEchoc, echo_server: tuple[str, int]) -> None:
    keyboard, terminal = pty.openpty()
    process = start_echoc(*echo_server, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    os.write(keyboard, b"hello\n")
    read_until(keyboard, b"hello\r\nhello\r\n")  # the terminal's own echo, and the server's
    os.write(keyboard, b"again\n\x04")
    read_until(keyboard, b"again\r\nagain\r\n")
    assert process.wait(timeout=60) == 0
    os.close(keyboard)


@pytest.mark.parametrize("mode", [(), ("--help",)])
def test_nobody_reads_the_output(start_echoc: StartEchoc, echo_server: tuple[str, int], mode: tuple[str, ...]) -> None:
    process = start_echoc("--verify", "-s", 1, *mode, *echo_server)
    process.stdout.close()
    assert process.wait(timeout=60) in {141, 0}
    assert b"Traceback" not in process.stderr.read()
