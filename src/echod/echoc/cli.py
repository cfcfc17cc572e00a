"""echoc: the command. Each mode imports what it needs: `--check` is run every few seconds on many machines."""

from __future__ import annotations

import os
import sys

from echod.echoc.connect import Target
from echod.echoc.faults import EchoError, LocalError, ServerError, UsageError
from echod.echoc.options import parse
from echod.echoc.report import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    import signal
    from types import FrameType
    from typing import NoReturn

    from echod.echoc.check import Outcome
    from echod.echoc.probe import Row
    from echod.echoc.roundtrip import Summary
else:
    import _signal as signal  # `signal` makes enumerations, which takes milliseconds

STDOUT = 1
STDERR = 2
SIGNAL_STATUS = 128  # the exit status is this plus the signal's number


def main() -> int:
    """Run echoc with the arguments of the process, and return its exit status."""
    _open_standard_descriptors()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _leave)
    try:
        return _run()
    except EchoError as error:
        return _fail(f"{error}", error.code)
    except OSError as error:
        return _fail(f"system: {error.strerror}", LocalError.code)
    except KeyboardInterrupt:
        return _fail("interrupted", SIGNAL_STATUS + signal.SIGINT)


def _run() -> int:
    try:
        options = parse()
    except UsageError as error:
        if "--check" not in sys.argv[1:]:
            raise UsageError(f"usage: {error}; see echoc --help") from None
        return _unknown(f"usage: {error}", None, "--json" in sys.argv[1:])
    limits = options.timeout, options.family, options.source
    target = Target(options.host, options.port, *limits, options.proxy, banner=options.banner)
    mode = {"stream": _stream, "verify": _verify, "ping": _ping, "check": _check}[options.mode]
    return mode(target, options)


def _stream(target: Target, _options: argparse.Namespace) -> int:
    from echod.echoc.progress import Progress  # noqa: PLC0415
    from echod.echoc.transfer import stream  # noqa: PLC0415

    with Progress(source=0, sink=1) as progress:
        try:
            stream(target, 0, 1, progress.show)
        except ServerError as error:
            raise EchoError(f"{target}: {error}") from None
    return 0


def _verify(target: Target, options: argparse.Namespace) -> int:
    from echod.echoc import report  # noqa: PLC0415
    from echod.echoc.patterns import PATTERNS  # noqa: PLC0415
    from echod.echoc.probe import DEFAULT_SIZE_BYTES, verify  # noqa: PLC0415

    def show(row: Row) -> None:
        if not options.json:
            say(*report.row_lines(row))

    size, parallel, patterns = options.size or DEFAULT_SIZE_BYTES, options.parallel or 1, options.pattern or PATTERNS
    if text := report.announcement(size, parallel, patterns):
        _note(text)
    if not options.json:
        say(report.HEADING)
    found = verify(target, size=size, parallel=parallel, patterns=patterns, seed=options.seed, on_row=show)
    say(report.report_json(found) if options.json else report.verdict(found))
    return 0 if found.ok else 1


def _ping(target: Target, options: argparse.Namespace) -> int:
    from echod.echoc import report  # noqa: PLC0415
    from echod.echoc.roundtrip import DEFAULT_SIZE_BYTES, Summary, ping  # noqa: PLC0415

    summary = Summary()
    size = options.size or DEFAULT_SIZE_BYTES
    count = options.c and int(options.c)
    interval = 1.0 if options.interval is None else options.interval
    try:
        for reply in ping(target, count, interval, size, options.seed):
            summary.add(reply)
            if not options.json:
                say(report.reply_line(reply, size, options.host))
    except KeyboardInterrupt:  # the way to end it
        pass
    if options.json:
        say(report.summary_json(summary))
    else:
        say(*report.summary_lines(summary, options.host))
    if options.histogram and not options.json:
        say(*_histogram(summary))
    return 0 if summary.times and not summary.lost + summary.wrong else 1


def _histogram(summary: Summary) -> list[str]:
    from shutil import get_terminal_size  # noqa: PLC0415

    from echod.echoc.report import histogram_lines  # noqa: PLC0415

    is_utf8 = sys.stdout.encoding.lower() == "utf-8"
    return list(histogram_lines(summary.times, not is_utf8, get_terminal_size().columns))


def _check(target: Target, options: argparse.Namespace) -> int:
    from echod.echoc.check import check  # noqa: PLC0415

    try:
        outcome = check(target, options.w, options.c)
    except OSError as error:
        return _unknown(f"system: {error.strerror}", target, options.json)
    except KeyboardInterrupt:
        return _unknown("interrupted", target, options.json)
    return _report(outcome, options.json)


def _unknown(text: str, target: Target | None, as_json: bool) -> int:
    from echod.echoc.check import UNKNOWN, Outcome  # noqa: PLC0415

    return _report(Outcome(UNKNOWN, text, target), as_json)


def _report(outcome: Outcome, as_json: bool) -> int:
    say(outcome.json() if as_json else outcome.line())
    return outcome.state


def _open_standard_descriptors() -> None:
    """Open those of 0, 1 and 2 that the caller closed: otherwise the socket would become one of them.

    Output to a closed stdout fails, as it does in other programs: a report must not be lost without a word.
    """
    for number in range(STDERR + 1):
        try:
            os.fstat(number)
        except OSError:  # open(2) returns the lowest number that is free: this one
            os.open(os.devnull, os.O_RDONLY if number == STDOUT else os.O_RDWR)
    sys.stdout = sys.stdout or open(STDOUT, "w", closefd=False)  # noqa: SIM115  it stays open
    sys.stderr = sys.stderr or open(STDERR, "w", closefd=False)  # noqa: SIM115


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    """End with the signal's exit status, but through every `finally`, so that no child is left."""
    raise SystemExit(SIGNAL_STATUS + number)


def _note(message: str) -> None:
    """Print one line on stderr, if stderr takes it."""
    try:  # noqa: SIM105  contextlib takes milliseconds
        os.write(STDERR, f"echoc: {message}\n".encode(errors="backslashreplace"))
    except OSError:
        pass


def _fail(message: str, code: int) -> int:
    """Print the reason of a failure, and return the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # one line is enough
    _note(message)
    return code
