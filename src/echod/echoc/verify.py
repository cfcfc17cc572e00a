"""Send known bytes in each pattern, over many connections at once, and compare each byte that returns."""

from __future__ import annotations

import os
import pickle
import random
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from echod.echoc.data import Data, seeded
from echod.echoc.errors import ConnectError, EchoError, Fault
from echod.echoc.patterns import PATTERNS, Pattern
from echod.echoc.probe import Probe, Result
from echod.echoc.processes import forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from echod.echoc.connect import Target

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
