"""The names of what servers do wrong with a connection; what they do to its bytes has its names in diagnose."""

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


def closed_early(received: int, sent: int) -> Fault:
    """Name an end of file before the client's half-close."""
    return Fault("closed-early", f"closed early: before we did, with {_of(received, sent)} returned", received)


def broken(received: int, sent: int, ended: bool, error: OSError) -> Fault:
    """Name a connection that ended with an error."""
    if not isinstance(error, ConnectionResetError):
        return Fault("broken", f"connection broke, with {_of(received, sent)} returned: {error.strerror}", received)
    if ended and received == sent:
        return Fault("reset-at-end", f"reset at the end: all {sent} bytes returned, then a reset, not a close", sent)
    return Fault("reset", f"reset, with {_of(received, sent)} returned", received)


def silent(received: int, sent: int, ended: bool, timeout: float) -> Fault:
    """Name a silence of `timeout` seconds where bytes, or the close, were due."""
    if ended and received == sent:
        return Fault("never-closes", f"never closes: all {sent} bytes returned, then nothing for {timeout:g} s", sent)
    what = f"{_of(received, sent)} returned, then nothing for {timeout:g} s"
    return Fault("stopped", f"stopped echoing: {what}", received)


def late_reader_hangs(stopped: Fault) -> Fault:
    """Name a server's deadlock: it fell silent while the client did not read."""
    return Fault("late-reader-hangs", f"late reader hangs: it {stopped.message}", stopped.offset)


def count_differs(received: int, sent: int) -> Fault | None:
    """Name what is wrong with the number of bytes that came before an orderly close; None: nothing."""
    if received > sent:
        return Fault("extra", f"{received - sent} bytes more than the {sent} sent", sent)
    if received == sent:
        return None
    what = f"the last {sent - received} of {sent} bytes" if received else f"everything ({sent} bytes)"
    return Fault("lost", f"lost {what} after half-close", received)


def _of(received: int, sent: int) -> str:
    return f"{received} of {sent} bytes"
