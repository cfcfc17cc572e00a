"""What can go wrong, and the exit status that says so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing that a server did wrong.

    `kind` is a name for programs (see echoc(1)), `message` a line for people. `offset` counts bytes from 0;
    `expected` and `got` are what should have been there and what came, in hexadecimal.
    """

    kind: str
    message: str
    offset: int | None = None
    expected: str | None = None
    got: str | None = None


class EchoError(Exception):
    """Any failure that echoc reports; `code` is the exit status."""

    code = 1


class ServerError(EchoError):
    """The server did not do what an echo server does; `fault` tells what."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class UsageError(EchoError):
    """The arguments are not valid."""

    code = 2


class ConnectError(EchoError):
    """The name does not resolve, or none of its addresses accepts."""

    code = 3


class LocalError(EchoError):
    """Input, output or a system call failed on this side: not the server's fault."""

    code = 4


class SinkClosedError(LocalError):
    """Nobody reads the output any more, as in `echoc host | head`."""

    code = 141
