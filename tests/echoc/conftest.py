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

import pytest

SERVERS = str(Path(__file__).with_name("servers.py"))
ECHOC = [sys.executable, "-m", "echod.echoc"]
DEADLINE = 60


@contextlib.contextmanager
def running(command, **options):
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


def eventually(condition):
    """Wait until `condition()` is true, and return what it returned."""
    deadline = time.monotonic() + DEADLINE
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)
    return result


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def accepts(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.fixture(name="eventually")
def eventually_fixture():
    return eventually


@pytest.fixture
def unused_port():
    return free_port()


@pytest.fixture
def server(tmp_path):
    """Start one of servers.py by its name; returns its port."""
    with contextlib.ExitStack() as stack:

        def start(kind, address="127.0.0.1"):
            command = [sys.executable, SERVERS, kind, address]
            process = stack.enter_context(running(command, stdout=subprocess.PIPE, cwd=tmp_path))
            return int(process.stdout.readline())

        yield start


@pytest.fixture
def echo_server(server):
    """A right echo server, as (host, port)."""
    return "127.0.0.1", server("right")


@pytest.fixture
def foreign_server():
    """Start a program that listens on the port `{}` of its command (or on `port`); returns the port."""
    with contextlib.ExitStack() as stack:

        def start(*command, port=None):
            port = port or free_port()
            stack.enter_context(running([word.format(port) for word in command], stderr=subprocess.DEVNULL))
            eventually(lambda: accepts(port))
            return port

        yield start


@pytest.fixture
def echoc():
    """Run echoc to its end; returns the finished process, with bytes as its output."""

    def run(*arguments, **options):
        command = [*ECHOC, *map(str, arguments)]
        if "stdin" not in options:
            options.setdefault("input", b"")
        return subprocess.run(command, capture_output=True, timeout=DEADLINE, check=False, **options)

    return run


@pytest.fixture
def start_echoc():
    """Start echoc and leave it running; it is ended with the test."""
    with contextlib.ExitStack() as stack:

        def start(*arguments, **options):
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            command = [*ECHOC, *map(str, arguments)]
            return stack.enter_context(running(command, bufsize=0, **{**pipes, **options}))

        yield start
