"""A server under test: started on a free port, known by its pid, stopped."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, NamedTuple

import proc
from generator import HOST, BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 15.0  # seconds for a start or a stop
STDERR = "stderr"  # the file of a server's output, in its directory


class Server(NamedTuple):
    """A server that answers; pid is the process that accepts."""

    pid: int
    port: int


def free_port() -> int:
    """Return a port that was free just now; some of the peers cannot report which one they took."""
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Whether one byte comes back."""
    try:
        with socket.create_connection((HOST, port), timeout=TIMEOUT) as client:
            client.sendall(b"?")
            return client.recv(1) == b"?"
    except OSError:
        return False


def last_line(path: str) -> str:
    """Return the last line of a server's output, for the message about its failure."""
    with open(path, errors="replace") as file:
        return (file.read().splitlines() or ["no output"])[-1]


class Peer:
    """A program that can serve. Subclasses say how it is called, and which release it is."""

    name = ""
    title = ""
    program = ""
    excused: tuple[tuple[str, ...], str] = ((), "")  # groups of figures that it is known to fail at times, and how

    def missing(self) -> str | None:
        """Return why it cannot take part, if it cannot."""
        return None if shutil.which(self.program) else f"{self.program} is not installed"

    def version(self) -> str:
        """Return its release, for the record."""
        raise NotImplementedError

    def command(self, port: int, directory: str) -> list[str]:
        """Return the call that serves in the foreground; files of its own go into the directory."""
        raise NotImplementedError

    @contextlib.contextmanager
    def launched(self, port: int, directory: str) -> Iterator[int]:
        """Pid of the running server, which has perhaps not bound its port yet; ended afterwards."""
        with open(os.path.join(directory, STDERR), "wb") as output:
            command = self.command(port, directory)
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0)
        try:
            yield process.pid
        finally:
            stop(process)

    @contextlib.contextmanager
    def serving(self) -> Iterator[Server]:
        """Give a fresh server that answers. Raises BenchmarkError when it doesn't."""
        with tempfile.TemporaryDirectory(prefix="echod-benchmark-") as directory:
            port = free_port()
            with self.launched(port, directory) as pid:
                deadline = time.monotonic() + TIMEOUT
                while not answers(port):
                    # A zombie has no exe.
                    if time.monotonic() > deadline or not os.path.exists(f"/proc/{pid}/exe"):
                        raise BenchmarkError(f"does not serve: {last_line(os.path.join(directory, STDERR))}")
                    time.sleep(0.01)
                proc.wait_reaped(pid, 0)
                yield Server(pid, port)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server, and what outlived it of its children.

    They are its process group, whose number is not used again before the leader is reaped.
    """
    descriptor = os.pidfd_open(process.pid)
    process.terminate()
    select.select([descriptor], [], [], TIMEOUT)
    os.close(descriptor)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
