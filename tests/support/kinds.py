"""The types of the fixtures. Imported by type checkers only: tests are not a package."""

from collections.abc import Callable
from subprocess import CompletedProcess, Popen
from typing import IO


class Process(Popen[bytes]):
    """A process all of whose standard descriptors are pipes to us, unless a test says otherwise."""

    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes]


Echoc = Callable[..., CompletedProcess[bytes]]
StartEchoc = Callable[..., Process]
StartServer = Callable[..., int]
Eventually = Callable[[Callable[[], object]], object]
