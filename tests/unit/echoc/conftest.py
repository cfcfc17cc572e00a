"""Servers to talk to, and echoc as a process."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from subprocess import CompletedProcess, Popen
from typing import TYPE_CHECKING, Any

import pytest

from support import echo_servers
from support.sockets import port_of_its_own
from support.wait import need

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.kinds import Echoc, Eventually, StartEchoc, StartServer

SERVERS = str(Path(echo_servers.__file__))
ECHOC = [sys.executable, "-m", "echod.echoc"]
DEADLINE = 60


@contextlib.contextmanager
def running(command: list[str], **options: Any) -> Iterator[Popen[bytes]]:
    """A process, and at the end nothing left of it and its children."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def eventually(condition: Callable[[], object]) -> object:
    """Wait until `condition()` is true, and return what it returned."""
    deadline = time.monotonic() + DEADLINE
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)
    return result


def accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.fixture(name="eventually")
def eventually_fixture() -> Eventually:
    return eventually


@pytest.fixture
def unused_port() -> int:
    return port_of_its_own()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StartServer]:
    """Start one of support.echo_servers by its name; returns its port."""
    with contextlib.ExitStack() as stack:

        def start(kind: str, address: str = "127.0.0.1") -> int:
            command = [sys.executable, SERVERS, kind, address]
            process = stack.enter_context(running(command, stdout=subprocess.PIPE, cwd=tmp_path))
            assert process.stdout
            return int(process.stdout.readline())

        yield start


@pytest.fixture
def echo_server(server: StartServer) -> tuple[str, int]:
    """A right echo server, as (host, port)."""
    return "127.0.0.1", server("right")


@pytest.fixture
def foreign_server() -> Iterator[StartServer]:
    """Start a program that listens on the port `{}` of its command (or on `port`); returns the port."""
    with contextlib.ExitStack() as stack:

        def start(*command: str, port: int | None = None) -> int:
            at = port or port_of_its_own()
            arguments = [argument.format(at) for argument in command[1:]]
            stack.enter_context(running([need(command[0]), *arguments], stderr=subprocess.DEVNULL))
            eventually(lambda: accepts(at))
            return at

        yield start


@pytest.fixture
def echoc() -> Echoc:
    """Run echoc to its end; returns the finished process, with bytes as its output."""

    def run(*arguments: object, **options: Any) -> CompletedProcess[bytes]:
        command = [*ECHOC, *map(str, arguments)]
        if "stdin" not in options:
            options.setdefault("input", b"")
        return subprocess.run(command, capture_output=True, timeout=DEADLINE, check=False, **options)

    return run


@pytest.fixture
def start_echoc() -> Iterator[StartEchoc]:
    """Start echoc and leave it running; it is ended with the test."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: object, **options: Any) -> Any:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            command = [*ECHOC, *map(str, arguments)]
            return stack.enter_context(running(command, bufsize=0, **{**pipes, **options}))

        yield start
