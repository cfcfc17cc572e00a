"""The programs in C: compiled for the run, and the load generator called."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = os.path.dirname(os.path.abspath(__file__))
HOST = "127.0.0.1"
LOAD = ("main.c", "exchanges.c", "slam.c", "hold.c", "engine.c", "util.c")

OPTIONS = {"size": "-s", "window": "-w", "interval": "-i"}  # of load


class BenchmarkError(Exception):
    """The run cannot go on, or found a fault; the message is for people."""


def compile_c(directory: str, name: str, *sources: str) -> str:
    """Path of the program. Raises BenchmarkError when there is no compiler, or it objects."""
    path = os.path.join(directory, name)
    command = ["cc", "-O2", "-o", path, *(os.path.join(HERE, source) for source in sources)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BenchmarkError("cc: not found: install a C compiler (apt install gcc libc6-dev)") from None
    if done.returncode:
        raise BenchmarkError(f"cc: {(done.stderr.splitlines() or ['failed'])[0]}")
    return path


class Held:
    """Connections that `load hold` keeps open."""

    def __init__(self, stdin: IO[str], stdout: IO[str]) -> None:
        self.stdin, self.stdout = stdin, stdout

    def reach(self, total: int) -> dict[str, Any]:
        """Hold so many in all, or as many as the server takes; each has echoed when this returns.

        "held" of the answer is how many, "stopped" why not more.
        """
        try:
            self.stdin.write(f"{total}\n")
            self.stdin.flush()
            line = self.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise BenchmarkError("load hold: ended early")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Generator:
    """`load`, which checks every byte: any fault is a BenchmarkError with its one line."""

    def __init__(self, directory: str) -> None:
        self.program = compile_c(directory, "load", *LOAD)

    def run(self, mode: str, port: int, *, clients: int, seconds: float, **more: float) -> dict[str, Any]:
        """One run: the JSON that main.c tells of. More options: `size`, `window`, `interval`."""
        options = ["-c", str(clients), "-t", str(seconds)]
        for name, value in more.items():
            options += [OPTIONS[name], str(value)]
        command = [self.program, mode, *options, HOST, str(port)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchmarkError(done.stderr.strip() or f"load {mode}: exit code {done.returncode}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    @contextlib.contextmanager
    def slam(self, port: int, *, seconds: float) -> Iterator[None]:
        """Let a client connect and close as fast as it can, for so many seconds or until the block is left."""
        command = [self.program, "slam", "-t", str(seconds), HOST, str(port)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                yield
            finally:
                process.terminate()

    @contextlib.contextmanager
    def hold(self, port: int, *, seconds: float) -> Iterator[Held]:
        """Give connections that Held.reach opens, each call within so many seconds; closed at the end."""
        command = [self.program, "hold", "-t", str(seconds), HOST, str(port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            if process.stdin is None or process.stdout is None:
                raise AssertionError
            try:
                yield Held(process.stdin, process.stdout)
            finally:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
                process.wait()
