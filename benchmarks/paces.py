"""Connections at other paces than as fast as it goes: a probe's, beside many that are held, beside a hostile client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import proc
from generator import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Callable

    from generator import Generator
    from plan import Figures, Plan
    from servers import Server

INTERVAL_S = 0.02  # a probe's pace
HOLD_S = 30.0
STALLED_US = 10e6  # the generator gives up then
STALLED = "no answer from the server"


def cpu_per_connection(server: Server, held: int, connect: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Return what `connect` measures, and as "cpu" the µs of server and children per connection; `held` stay."""
    proc.wait_reaped(server.pid, held)
    before = proc.cpu(server.pid)
    answer = connect()
    proc.wait_reaped(server.pid, held)
    return {**answer, "cpu": (proc.cpu(server.pid) - before) / answer["count"] * 1e6}


def pace(server: Server, generator: Generator, plan: Plan) -> Figures:
    """One connection every 20 ms."""

    def connect(seconds: float = plan.pace) -> dict[str, float]:
        return generator.run("connect", server.port, clients=1, seconds=seconds, interval=INTERVAL_S)

    connect(plan.pace / 4)  # warms caches, counts for nothing
    answer = cpu_per_connection(server, 0, connect)
    return {f"pace.{name}": answer[name] for name in ("cpu", "p50", "p99")}


def held(server: Server, generator: Generator, plan: Plan) -> Figures:
    """8 clients in a loop while others are held. Raises BenchmarkError if one of these is lost."""

    def connect(seconds: float = plan.beside) -> dict[str, float]:
        return generator.run("connect", server.port, clients=8, seconds=seconds)

    figures: Figures = {}
    with generator.hold(server.port, seconds=HOLD_S) as holding:
        for count in plan.beside_held:
            if holding.reach(count)["held"] < count:
                raise BenchmarkError(f"does not hold {count} clients")
            connect(plan.beside / 10)
            answer = cpu_per_connection(server, count, connect)
            if holding.reach(count)["held"] < count:
                raise BenchmarkError("clients were lost that should have been held")
            figures |= {f"held.{count}.{name}": answer[name] for name in ("rate", "cpu")}
    proc.wait_reaped(server.pid, 0)
    return figures


def honest(server: Server, generator: Generator, plan: Plan) -> Figures:
    """One client that connects every 20 ms, alone, and next to one that connects and closes as fast as it can."""

    def connect() -> dict[str, float]:
        return generator.run("connect", server.port, clients=1, seconds=plan.honest, interval=INTERVAL_S)

    figures = {f"honest.alone.{name}": value for name, value in connect().items() if name in ("p50", "p99")}
    with generator.slam(server.port, seconds=plan.honest):
        try:
            answer = connect()
        except BenchmarkError as error:
            if STALLED not in str(error):
                raise
            answer = {"p50": STALLED_US, "p99": STALLED_US}
    return figures | {f"honest.beside.{name}": answer[name] for name in ("p50", "p99")}
