"""Send known bytes in each pattern, over many connections at once, and compare each byte that returns."""

from __future__ import annotations

import os
import pickle
import random
import select
import socket
import struct
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from echod.echoc import faults
from echod.echoc.connect import Target, connect
from echod.echoc.data import PERIOD, Data, seeded
from echod.echoc.diagnose import KEY, WINDOW, diagnose, first_difference
from echod.echoc.duplex import Board, forked, receive, sender
from echod.echoc.faults import ConnectError, EchoError, Fault, ServerError
from echod.echoc.patterns import PATTERNS, Close, Pattern
from echod.echoc.roundtrip import roundtrip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


STUCK = 0.1  # seconds without progress after which a sender is taken for blocked
PAUSE = 0.2  # seconds in which a server may wrongly close before a late half-close


@dataclass(frozen=True)
class Result:
    """One connection: bytes returned in good order, seconds it took, and what was wrong, if anything."""

    size: int
    seconds: float
    fault: Fault | None = None
    connected: bool = True


class Probe:
    """One client of `target`: sends `size` bytes of `data` in a `pattern`, whose random choices `rng` makes.

    Where the pattern wants several tries, they are as many connections, one after the other, and share the size.
    """

    def __init__(self, target: Target, pattern: Pattern, data: Data, size: int, rng: random.Random) -> None:
        self.target = target
        self.pattern = pattern
        self.data = data
        self.size = pattern.size(size)
        self.rng = rng
        self.total = 0
        self.received = 0

    def run(self) -> Result:
        """Connect, send, compare, close. What is wrong is in the result; no error is raised for it."""
        start = time.monotonic()
        fault, connected = None, False
        try:
            for _ in range(self.pattern.tries):
                with connect(self.target) as sock:
                    connected = True
                    self._converse(sock)
            if self.pattern.close is Close.ABRUPT:
                self._expect_survival()
        except ServerError as error:
            fault = error.fault
        except ConnectError as error:
            fault = Fault("refused", f"cannot connect: {error}")
        return Result(self.total + self.received, time.monotonic() - start, fault, connected)

    def _converse(self, sock: socket.socket) -> None:
        self.total, self.received = self.total + self.received, 0
        self.data = self.data.from_point(self.rng.randrange(PERIOD))
        with sender(lambda board: self._send(sock, board)) as board:
            if self.pattern.late_reader or self.pattern.close is Close.WITH_DATA:
                _wait_until_stuck(board)
            try:
                self._compare(sock, board)
            except ServerError as error:
                if self.pattern.late_reader and error.fault.kind == "stopped" and self.received:
                    raise ServerError(faults.late_reader_hangs(error.fault)) from None
                raise

    def _send(self, sock: socket.socket, board: Board) -> None:
        if self.pattern.close is Close.WITH_DATA:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        for chunk in self.pattern.chunks(self.size, self.rng):
            view = self.data.view(board.sent, chunk)
            board.sent += chunk
            sock.sendall(view)
        if self.pattern.close in {Close.AFTER_SENDING, Close.WITH_DATA}:
            board.half_close(sock)

    def _compare(self, sock: socket.socket, board: Board) -> None:
        answer = receive(sock, board, self.target.timeout)
        for view in answer:
            if not self.data.matches(view, self.received):
                raise ServerError(self._diagnose(bytes(view), answer))
            self.received += len(view)
            if self.pattern.close is Close.ABRUPT and self.received >= self.size // 2:
                _reset_on_close(sock)
                return
            if self.pattern.close is Close.LATE and self.received == self.size and _stays_open(sock):
                board.half_close(sock)
        if fault := faults.count_differs(self.received, board.sent):
            raise ServerError(fault)

    def _diagnose(self, got: bytes, answer: Iterator[memoryview]) -> Fault:
        at = first_difference(got, bytes(self.data.view(self.received, len(got))))
        self.received += at
        got = got[at:]
        try:
            while len(got) < WINDOW:
                got += bytes(next(answer))
        except (StopIteration, ServerError):
            pass
        return diagnose(self.data, self.received, got, self.size)

    def _expect_survival(self) -> None:
        try:
            with connect(self.target) as sock:
                roundtrip(sock, bytes(self.data.view(0, KEY)), self.target.timeout)
        except (ConnectError, ServerError) as error:
            raise ServerError(Fault("gone", f"no longer serves after an abrupt close: {error}")) from None


def _wait_until_stuck(board: Board) -> None:
    before = -1
    while not board.ended and board.sent != before:
        before = board.sent
        time.sleep(STUCK)


def _stays_open(sock: socket.socket) -> bool:
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return not poller.poll(PAUSE * 1000)


def _reset_on_close(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("@ii", 1, 0))


SIZE = 64 << 20


@dataclass(frozen=True)
class Row:
    """One pattern: the results of its connections, in their order."""

    pattern: Pattern
    results: tuple[Result, ...]

    @property
    def size(self) -> int:
        """Bytes that came back in good order, over all connections."""
        return sum(result.size for result in self.results)

    @property
    def seconds(self) -> float:
        """How long the slowest connection took."""
        return max(result.seconds for result in self.results)

    @property
    def faults(self) -> list[tuple[int, Fault]]:
        """Every fault, with the number of its connection, from 1."""
        return [(number, result.fault) for number, result in enumerate(self.results, 1) if result.fault]


@dataclass
class Report:
    """What verify found: a row for each pattern, and what is needed to repeat the run."""

    target: Target
    seed: int
    size: int
    rows: list[Row] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing at all was wrong."""
        return not any(row.faults for row in self.rows)


def _ignore(_row: Row) -> None:
    pass


def verify(
    target: Target,
    *,
    size: int = SIZE,
    parallel: int = 1,
    patterns: Iterable[Pattern] = PATTERNS,
    seed: int | None = None,
    on_row: Callable[[Row], None] = _ignore,
) -> Report:
    """Run each pattern over `parallel` connections at once, with `size` bytes (at least 1) on each.

    The same `seed` sends the same bytes in the same chunks; None takes a random one. `on_row` is called as each
    pattern is done. Two processes serve each connection; don't call this with other threads running.

    What the server does wrong is in the report; no error is raised for it. ConnectError: not one connection of a
    pattern could be made. OSError: no more processes or descriptors.
    """
    report = Report(target, random.SystemRandom().getrandbits(32) if seed is None else seed, size)
    data = seeded(report.seed)
    for pattern in patterns:
        row = Row(pattern, _run(report, pattern, data, parallel))
        if not any(result.connected for result in row.results):
            raise ConnectError(row.faults[0][1].message.removeprefix("cannot connect: "))
        report.rows.append(row)
        on_row(row)
    return report


def _run(report: Report, pattern: Pattern, data: Data, parallel: int) -> tuple[Result, ...]:
    pipes = []
    with ExitStack() as stack:
        for number in range(parallel):
            rng = random.Random(f"{report.seed} {pattern.name} {number}")  # noqa: S311  to be repeated
            probe = Probe(report.target, pattern, data, report.size, rng)
            pipes.append(_start(probe, stack))
        return tuple(_result(pipe) for pipe in pipes)


def _start(probe: Probe, stack: ExitStack) -> int:
    """Run `probe` in a child of `stack`, and return the pipe on which its result will come."""
    reading, writing = os.pipe()
    stack.callback(os.close, reading)
    try:
        stack.enter_context(forked(lambda: os.write(writing, pickle.dumps(_outcome(probe)))))
    finally:
        os.close(writing)
    return reading


def _outcome(probe: Probe) -> Result | OSError:
    try:
        return probe.run()
    except OSError as error:
        return error


def _result(pipe: int) -> Result:
    pickled = os.read(pipe, 1 << 16)  # one write, so one read; far below what a pipe holds
    if not pickled:
        raise EchoError("a connection's process died")
    outcome: Result | OSError = pickle.loads(pickled)  # noqa: S301  from a child of this process
    if isinstance(outcome, OSError):
        raise outcome
    return outcome
