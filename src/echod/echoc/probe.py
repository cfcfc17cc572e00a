"""Send known bytes in each pattern, over many connections at once, and compare each byte that returns.

A process serves each connection (class Probe), and its child sends. The parent collects the results.
"""

from __future__ import annotations

import os
import pickle
import random
import select
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from echod.echoc import faults
from echod.echoc.connect import RESET_AT_CLOSE, Target, connect
from echod.echoc.data import PERIOD_BYTES, Data, first_difference, seeded
from echod.echoc.diagnose import KEY_BYTES, WINDOW_BYTES, diagnose
from echod.echoc.duplex import Board, forked, receive, sender, write_all
from echod.echoc.faults import ConnectError, Fault, LocalError, ServerError, Value
from echod.echoc.patterns import PATTERNS, Close, Pattern
from echod.echoc.roundtrip import roundtrip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


STUCK_AFTER_S = 0.1  # a sender that makes no progress for this long is blocked
EARLY_CLOSE_MS = 200  # in this time after the last byte a server may wrongly close before a late half-close
DEFAULT_SIZE_BYTES = 64 << 20


class Result(Value):
    """One connection: the bytes that returned in order, the seconds it took, and the fault, if any."""

    def __init__(self, size: int, seconds: float, fault: Fault | None = None, connected: bool = True) -> None:
        self.size = size
        self.seconds = seconds
        self.fault = fault
        self.connected = connected


class Probe:
    """One client of `target`: sends `size` bytes of `data` in a `pattern`, whose random choices `rng` makes.

    If the pattern has several tries, the probe makes one connection after the other, and they share the size.
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
        """Connect, send, compare, close. The result names a fault of the server; no error is raised for it."""
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
            fault, connected = error.fault, True
        except ConnectError as error:
            fault = Fault("refused", f"cannot connect: {error}")
        return Result(self.total + self.received, time.monotonic() - start, fault, connected)

    def _converse(self, sock: socket.socket) -> None:
        self.total, self.received = self.total + self.received, 0
        self.data = self.data.from_point(self.rng.randrange(PERIOD_BYTES))
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
            due = view[: self.size - self.received]
            # The data repeat themselves, so bytes after the last one due may look right.
            if len(due) < len(view) or not self.data.matches(due, self.received):
                raise ServerError(self._diagnose(bytes(view), answer, lambda: board.half_close(sock)))
            self.received += len(view)
            if self.pattern.close is Close.ABRUPT and self.received >= self.size // 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
                return
            if self.pattern.close is Close.LATE and self.received == self.size and _stays_open(sock):
                board.half_close(sock)
        if fault := faults.count_differs(self.received, board.sent):
            raise ServerError(fault)

    def _diagnose(self, got: bytes, answer: Iterator[memoryview], half_close: Callable[[], None]) -> Fault:
        """Name the fault in `got` by what comes after it within `target.timeout`.

        A pattern that has not half-closed yet does so once all bytes may be back. Otherwise the server would owe
        nothing then, and the wait for it would have no end.
        """
        total = self.received + len(got)
        due = bytes(self.data.view(self.received, min(len(got), self.size - self.received)))
        at = first_difference(got[: len(due)], due)
        self.received += at
        got = got[at:]
        deadline = time.monotonic() + self.target.timeout
        try:
            while len(got) < WINDOW_BYTES and time.monotonic() < deadline:
                if total >= self.size and self.pattern.close in {Close.LATE, Close.ABRUPT}:
                    half_close()
                view = next(answer)
                total += len(view)
                got += bytes(view)
        except (StopIteration, ServerError):
            pass
        return diagnose(self.data, self.received, got, self.size)

    def _expect_survival(self) -> None:
        try:
            with connect(self.target) as sock:
                roundtrip(sock, bytes(self.data.view(0, KEY_BYTES)), self.target.timeout)
        except (ConnectError, ServerError) as error:
            raise ServerError(Fault("gone", f"no longer serves after an abrupt close: {error}")) from None


def _wait_until_stuck(board: Board) -> None:
    before = -1
    while not board.ended and board.sent != before:
        before = board.sent
        time.sleep(STUCK_AFTER_S)


def _stays_open(sock: socket.socket) -> bool:
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return not poller.poll(EARLY_CLOSE_MS)


class Row(Value):
    """One pattern: the results of its connections, in their order."""

    def __init__(self, pattern: Pattern, results: tuple[Result, ...]) -> None:
        self.pattern = pattern
        self.results = results

    @property
    def size(self) -> int:
        """Bytes that came back in order, over all connections."""
        return sum(result.size for result in self.results)

    @property
    def seconds(self) -> float:
        """The time of the slowest connection."""
        return max(result.seconds for result in self.results)

    @property
    def faults(self) -> list[tuple[int, Fault]]:
        """Every fault, with the number of its connection, from 1."""
        return [(number, result.fault) for number, result in enumerate(self.results, 1) if result.fault]


class Report(Value):
    """The result of verify: a row for each pattern, and the seed and the size, which repeat the run."""

    def __init__(self, target: Target, seed: int, size: int, rows: list[Row] | None = None) -> None:
        self.target = target
        self.seed = seed
        self.size = size
        self.rows = rows or []

    @property
    def ok(self) -> bool:
        """True if no connection had a fault."""
        return not any(row.faults for row in self.rows)


def _ignore(_row: Row) -> None:
    pass


def verify(
    target: Target,
    *,
    size: int = DEFAULT_SIZE_BYTES,
    parallel: int = 1,
    patterns: Iterable[Pattern] = PATTERNS,
    seed: int | None = None,
    on_row: Callable[[Row], None] = _ignore,
) -> Report:
    """Run each pattern over `parallel` connections at once, with `size` bytes (at least 1) on each.

    The same `seed` sends the same bytes in the same chunks; None takes a random one. `on_row` is called after each
    pattern. Two processes serve each connection, so do not call this function while other threads run.

    The report names the server's faults; no error is raised for them. ConnectError: a pattern could not make a single
    connection. OSError: fork(2) failed, or descriptors ran out.
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
    """Run `probe` in a child that ends with `stack`, and return the pipe that will have its result."""
    reading, writing = os.pipe()
    stack.callback(os.close, reading)
    try:
        stack.enter_context(forked(lambda: write_all(writing, memoryview(pickle.dumps(_outcome(probe))))))
    finally:
        os.close(writing)
    return reading


def _outcome(probe: Probe) -> Result | OSError | LocalError:
    try:
        return probe.run()
    except (OSError, LocalError) as error:
        return error


def _result(pipe: int) -> Result:
    pickled = b""
    while part := os.read(pipe, 1 << 16):
        pickled += part
    if not pickled:
        raise LocalError("a process of echoc was killed")
    outcome: Result | OSError | LocalError = pickle.loads(pickled)  # noqa: S301  from a child of this process
    if not isinstance(outcome, Result):
        raise outcome
    return outcome
