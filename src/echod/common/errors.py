"""The errors people see, each with its exit code (LSB, "Init Script Actions"); and why another program has failed."""

from __future__ import annotations

from echod.common.cmodules import os
from echod.common.signals_table import signal_name

DONE, FAILED, USAGE, NOT_PERMITTED, NOT_INSTALLED, BAD_CONFIG, NOT_RUNNING = 0, 1, 2, 4, 5, 6, 7


class EchodError(Exception):
    """Something that one line can tell: what, why, and the way out. `code` is the exit code."""

    code = FAILED

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class ConfigError(EchodError):
    """The config is bad or missing; the message names file, line, key, value and what is allowed."""

    code = BAD_CONFIG


def describe(error: OSError) -> str:
    """Return a system error as `path: why`."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def from_os_error(what: str, error: OSError) -> EchodError:
    """Turn a system error into one with an exit code: lacking permission has its own."""
    return EchodError(f"{what}: {describe(error)}", NOT_PERMITTED if isinstance(error, PermissionError) else FAILED)


def printable(text: str) -> str:
    """Return a text as a terminal or a log may show it: other characters as their escapes, lines kept."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def place_of(error: BaseException) -> str:
    """Return `file:line` of where an error was raised."""
    trace, place = error.__traceback__, ""
    while trace:
        place, trace = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}", trace.tb_next
    return place


def last_words(stderr: str) -> list[str]:
    """Return the line of a failed program's stderr that says why, with the place if a traceback names one; or none."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    said = [line for line in lines if "rror" in line][-1:] or lines[-1:]
    for line in lines[::-1]:
        if line.startswith('File "'):  # File "PATH", line N, in NAME
            path, _, rest = line[6:].partition('", line ')
            return [f"{path}:{rest.partition(',')[0]}: {text}" for text in said]
    return said


def end_of(status: int) -> str:
    """Return a wait status (waitpid(2)) in words."""
    if os.WIFSIGNALED(status):
        return f"it was ended by {signal_name(os.WTERMSIG(status))}"
    return f"it ended with exit status {os.WEXITSTATUS(status)}"
