"""echoc: the command."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from shutil import get_terminal_size
from typing import TYPE_CHECKING, NoReturn

from echod.echoc import report
from echod.echoc.check import Outcome, State, check
from echod.echoc.connect import Target
from echod.echoc.faults import EchoError, LocalError, ServerError, SinkClosedError
from echod.echoc.options import parse
from echod.echoc.patterns import PATTERNS
from echod.echoc.probe import SIZE as VERIFY_SIZE
from echod.echoc.probe import Row, verify
from echod.echoc.progress import Progress
from echod.echoc.report import histogram_lines
from echod.echoc.roundtrip import SIZE as PING_SIZE
from echod.echoc.roundtrip import Summary, ping
from echod.echoc.transfer import stream

if TYPE_CHECKING:
    import argparse
    from types import FrameType

STDERR = 2
INTERRUPTED = 128 + signal.SIGINT


def main() -> int:
    """Run echoc with the arguments of the process, and return its exit status."""
    _open_standard_descriptors()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _leave)
    try:
        code = _run(parse())
        print(end="", flush=True)  # while its failure can still be reported
    except EchoError as error:
        return _fail(f"{error}", error.code)
    except BrokenPipeError:
        return _fail("output: its reader has gone", SinkClosedError.code)
    except OSError as error:
        return _fail(f"system: {error.strerror}", LocalError.code)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    return code


def _run(options: argparse.Namespace) -> int:
    target = Target(options.host, options.port, options.timeout, options.family, options.source, options.proxy)
    mode = {"stream": _stream, "verify": _verify, "ping": _ping, "check": _check}[options.mode]
    return mode(target, options)


def _stream(target: Target, _options: argparse.Namespace) -> int:
    with Progress(source=0, sink=1) as progress:
        try:
            stream(target, 0, 1, progress.show)
        except ServerError as error:
            raise EchoError(f"{target}: {error}") from None
    return 0


def _verify(target: Target, options: argparse.Namespace) -> int:
    def show(row: Row) -> None:
        if not options.json:
            print(*report.row_lines(row), sep="\n", flush=True)

    size, parallel, patterns = options.size or VERIFY_SIZE, options.parallel or 1, options.pattern or PATTERNS
    if text := report.announcement(size, parallel, patterns):
        print(f"echoc: {text}", file=sys.stderr, flush=True)
    if not options.json:
        print(report.HEADING, flush=True)
    found = verify(
        target,
        size=size,
        parallel=parallel,
        patterns=patterns,
        seed=options.seed,
        on_row=show,
    )
    print(report.report_json(found) if options.json else report.verdict(found))
    return 0 if found.ok else 1


def _ping(target: Target, options: argparse.Namespace) -> int:
    summary = Summary()
    size = options.size or PING_SIZE
    count = options.c and int(options.c)
    interval = 1.0 if options.interval is None else options.interval
    replies = ping(target, count, interval, size, options.seed)
    try:
        for reply in replies:
            summary.add(reply)
            if not options.json:
                print(report.reply_line(reply, size, options.host), flush=True)
    except KeyboardInterrupt:  # the way to end it
        pass
    if options.json:
        print(report.summary_json(summary))
        return _ping_status(summary)
    print(*report.summary_lines(summary, options.host), sep="\n")
    if options.histogram:
        print(*histogram_lines(summary.times, not _is_utf8(), get_terminal_size().columns), sep="\n")
    return _ping_status(summary)


def _ping_status(summary: Summary) -> int:
    return 0 if summary.times and not summary.lost + summary.wrong else 1


def _is_utf8() -> bool:
    return sys.stdout is not None and sys.stdout.encoding.lower() == "utf-8"


def _check(target: Target, options: argparse.Namespace) -> int:
    try:
        outcome = check(target, options.w, options.c)
    except OSError as error:
        outcome = Outcome(State.UNKNOWN, f"system: {error.strerror}", target)
    except KeyboardInterrupt:
        outcome = Outcome(State.UNKNOWN, "interrupted", target)
    print(outcome.json() if options.json else outcome.line())
    return outcome.state


def _open_standard_descriptors() -> None:
    """Open what the caller closed of 0, 1 and 2, or the socket would become one of them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        pass
    os.close(descriptor)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    """End with the signal's exit status, but through every `finally`: no child is left."""
    raise SystemExit(128 + number)


def _fail(message: str, code: int) -> int:
    """Report a failure in one line, if stderr takes it, and return the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # one line is enough
    with suppress(OSError):
        os.write(STDERR, f"echoc: {message}\n".encode(errors="backslashreplace"))
    return code
