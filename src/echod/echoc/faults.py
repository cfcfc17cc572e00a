"""What can go wrong: the errors with their exit statuses, and the names of what servers do wrong with a connection.

The names of what a server does to the bytes are in diagnose.py.
"""

from __future__ import annotations


class Value:
    """An object that is equal to another one with the same attributes, and shows them.

    A dataclass would do the same, but its module imports inspect, which takes a third of the CPU time of a probe.
    """

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        attributes = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({attributes})"


class Fault(Value):
    """One thing that a server did wrong.

    `kind` is a name for programs (see echoc(1)), `message` a line for people. `offset` counts bytes from 0.
    `expected` and `got` are the bytes that should have been at the offset and those that came, in hexadecimal.
    """

    def __init__(
        self, kind: str, message: str, offset: int | None = None, expected: str | None = None, got: str | None = None
    ) -> None:
        self.kind = kind
        self.message = message
        self.offset = offset
        self.expected = expected
        self.got = got


class EchoError(Exception):
    """Any failure that echoc reports; `code` is the exit status."""

    code = 1


class ServerError(EchoError):
    """The server did not behave as an echo server; `fault` names the difference."""

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
    """Input, output or a system call failed on this side. The server is not at fault."""

    code = 4


class SinkClosedError(LocalError):
    """No process reads the output any more, as in `echoc host | head`."""

    code = 141


def no_banner(why: str) -> Fault:
    """Name a server that was to send a line before its echo."""
    return Fault("no-banner", f"no banner: {why}", 0)


def closed_early(received: int, sent: int) -> Fault:
    """Name an end of file before the client's half-close."""
    message = f"closed early: before the client half-closed, with {_returned(received, sent)}"
    return Fault("closed-early", message, received)


def broken(received: int, sent: int, ended: bool, error: OSError) -> Fault:
    """Name a connection that ended with an error."""
    if not isinstance(error, (ConnectionResetError, BrokenPipeError)):  # EPIPE: sent after the reset had arrived
        message = f"connection broke, with {_returned(received, sent)}: {error.strerror}"
        return Fault("broken", message, received)
    if ended and received == sent:
        return Fault("reset-at-end", f"reset at the end: all {sent} bytes returned, then a reset, not a close", sent)
    return Fault("reset", f"reset, with {_returned(received, sent)}", received)


def silent(received: int, sent: int, ended: bool, timeout_s: float) -> Fault:
    """Name a silence of `timeout_s` seconds while bytes, or the close, were due."""
    silence = f"then nothing for {seconds_text(timeout_s)}"
    if ended and received == sent:
        return Fault("never-closes", f"never closes: all {sent} bytes returned, {silence}", sent)
    return Fault("stopped", f"stopped echoing: {_returned(received, sent)}, {silence}", received)


def late_reader_hangs(stopped: Fault) -> Fault:
    """Name a server's deadlock: it stopped echoing while the client did not read."""
    return Fault("late-reader-hangs", f"late reader hangs: it {stopped.message}", stopped.offset)


def count_differs(received: int, sent: int) -> Fault | None:
    """Name what is wrong with the number of bytes that came before an orderly close, or return None."""
    if received > sent:
        return excess(received, sent)
    if received == sent:
        return None
    lost = f"the last {sent - received} of {sent} bytes" if received else f"everything ({sent} bytes)"
    return Fault("lost", f"lost {lost} after half-close", received)


def excess(received: int, sent: int) -> Fault:
    """Name bytes that the client never sent."""
    return Fault("extra", f"{bytes_text(received - sent)} more than the {sent} sent", sent)


def seconds_text(seconds: float) -> str:
    """Return a time-out as people write it: 0.5 s, 10 s."""
    return f"{round(seconds, 1):g} s" if seconds >= 1 else f"{seconds:.2g} s"


def bytes_text(count: int) -> str:
    """Return a number of bytes in words."""
    return "one byte" if count == 1 else f"{count} bytes"


def _returned(received: int, sent: int) -> str:
    return f"{received} of {sent} bytes returned"
