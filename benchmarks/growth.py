"""How cost grows with the number of clients held."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import proc
from generator import BenchmarkError
from metrics import STEP_SECONDS, memory_at

if TYPE_CHECKING:
    from generator import Generator
    from servers import Peer

HELD = (0, 1000, 4000)
MEMORY_AT = (100, 1000, 2500, 5000, 7500, 10000)
ROUNDS = 2
SECONDS = 1.0


def connecting(peer: Peer, generator: Generator, held_already: int) -> tuple[float, float]:
    """Return connections a second with 8 clients in a loop while others are held, and the CPU µs of each."""
    with peer.serving() as server, generator.hold(server.port, seconds=STEP_SECONDS) as held:
        if held.reach(held_already)["held"] < held_already:
            raise BenchmarkError(f"does not hold {held_already} clients")
        generator.run("connect", server.port, clients=8, seconds=SECONDS / 10)
        proc.wait_reaped(server.pid, held_already)
        before = proc.cpu(server.pid)
        answer = generator.run("connect", server.port, clients=8, seconds=SECONDS)
        proc.wait_reaped(server.pid, held_already)
        spent = proc.cpu(server.pid) - before
        if held.reach(held_already)["held"] < held_already:
            raise BenchmarkError("clients were lost that should have been held")
    return answer["rate"], spent / answer["count"] * 1e6


def measure(peer: Peer, generator: Generator) -> dict[str, Any]:
    """Medians for each number held, taken in turn; memory in KiB a client, once."""
    runs: dict[int, list[tuple[float, float]]] = {held: [] for held in HELD}
    for _ in range(ROUNDS):
        for held, taken in runs.items():
            taken.append(connecting(peer, generator, held))
    with peer.serving() as server:
        memory = memory_at(server, generator, MEMORY_AT)
    return {
        "rate": {held: statistics.median(rate for rate, _ in taken) for held, taken in runs.items()},
        "cpu": {held: statistics.median(cpu for _, cpu in taken) for held, taken in runs.items()},
        "private": {count: memory[key] for count in MEMORY_AT if (key := f"memory.{count}.private") in memory},
    }
