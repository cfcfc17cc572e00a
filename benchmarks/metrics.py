"""What is measured, and how: each group takes a fresh server and gives figures by key."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, NamedTuple

import moved
import paces
import proc
from generator import BenchmarkError
from plan import HELD, HELD_QUICK, MEMORY_AT, Figures

if TYPE_CHECKING:
    from collections.abc import Callable

    from generator import Generator
    from plan import Plan
    from servers import Server

MESSAGES = (1, 16, 64, 256)  # KiB
BULK = (1, 4, 16)  # clients
NO_WINDOW = 1e15
STEP = 2500  # clients held at a time on the way there, each step within
STEP_SECONDS = 30.0
SCARCE = 0.15  # share of the machine's memory left at which no more are held
KIB = 1024


class Metric(NamedTuple):
    """One row of the table."""

    key: str
    title: str
    unit: str
    better: Literal["more", "less"]


CONNECT: tuple[tuple[str, str, str, Literal["more", "less"]], ...] = (
    ("rate", "connections, {} at a time", "/s", "more"),
    ("p50", "… p50", "µs", "less"),
    ("p99", "… p99", "µs", "less"),
)
METRICS = (
    *(
        Metric(f"connect.{clients}.{figure}", title.format(clients), unit, better)
        for clients in (1, 8, 64)
        for figure, title, unit, better in CONNECT
    ),
    Metric("connect.8.cpu", "server CPU a connection", "µs", "less"),
    Metric("pingpong.64x1.rate", "ping-pong 64 B, 1 client", "/s", "more"),
    Metric("pingpong.64x1.p50", "… p50", "µs", "less"),
    Metric("pingpong.64x8.rate", "ping-pong 64 B, 8 clients", "/s", "more"),
    Metric("pingpong.64x8.p50", "… p50", "µs", "less"),
    *(Metric(f"messages.{size}.p50", f"ping-pong {size} KiB, 1 client, p50", "µs", "less") for size in MESSAGES),
    *(Metric(f"bulk.{clients}.rate", f"bulk, {clients} at a time", "MB/s", "more") for clients in BULK),
    *(Metric(f"bulk.{clients}.open", f"… without the window, {clients}", "MB/s", "more") for clients in BULK),
    *(
        Metric(f"memory.{clients}.{figure}", title.format(clients), "KiB", "less")
        for clients in MEMORY_AT
        for figure, title in (
            ("private", "private memory a client, {} held"),
            ("proportional", "proportional memory a client, {} held"),
        )
    ),
    Metric("idle.more", "… more after it has moved 64 MiB", "KiB", "less"),
    Metric("most.held", "clients held at once, all echoing", "", "more"),
    Metric("pace.cpu", "a connection every 20 ms: server CPU of each", "µs", "less"),
    Metric("pace.p50", "… p50", "µs", "less"),
    *(
        metric
        for count in (*HELD, *HELD_QUICK)
        for metric in (
            Metric(f"held.{count}.rate", f"connections, 8 at a time, {count:,} others held", "/s", "more"),
            Metric(f"held.{count}.cpu", "… server CPU of each", "µs", "less"),
        )
    ),
    Metric("honest.alone.p50", "a connection every 20 ms, nobody else: p50", "µs", "less"),
    Metric("honest.alone.p99", "… p99", "µs", "less"),
    Metric("honest.beside.p50", "… next to one that connects and closes: p50", "µs", "less"),
    Metric("honest.beside.p99", "… p99", "µs", "less"),
    Metric("refusal.cpu", "a client that is denied: server CPU", "µs", "less"),
    Metric("networks.1", "one network in deny: CPU a connection, to none", "", "less"),
    Metric("networks.10000", "10,000 networks in deny: CPU a connection, to one", "", "less"),
)


def connect(server: Server, generator: Generator, plan: Plan) -> Figures:
    """Measure connections a second and their latency; the cost includes exited children."""
    figures: Figures = {}
    generator.run("connect", server.port, clients=8, seconds=plan.connect / 3)  # warms caches, counts for nothing
    for clients in (1, 8, 64):
        proc.wait_reaped(server.pid, 0)
        before = proc.cpu(server.pid)
        answer = generator.run("connect", server.port, clients=clients, seconds=plan.connect)
        proc.wait_reaped(server.pid, 0)
        answer["cpu"] = (proc.cpu(server.pid) - before) / answer["count"] * 1e6
        figures |= {f"connect.{clients}.{name}": answer[name] for name in ("rate", "p50", "p99", "cpu", "cores")}
    return figures


def pingpong(server: Server, generator: Generator, plan: Plan) -> Figures:
    """Round trips on connections that stay."""
    figures: Figures = {}
    for clients in (1, 8):
        answer = generator.run("pingpong", server.port, clients=clients, seconds=plan.pingpong, size=64)
        figures |= {f"pingpong.64x{clients}.{name}": answer[name] for name in ("rate", "p50", "p99", "cores")}
    return figures


def messages(server: Server, generator: Generator, plan: Plan) -> Figures:
    """Round trips of larger messages, one client."""
    figures: Figures = {}
    for size in MESSAGES:
        answer = generator.run("pingpong", server.port, clients=1, seconds=plan.pingpong, size=size * KIB)
        figures |= {f"messages.{size}.{name}": answer[name] for name in ("rate", "p50", "p99", "cores")}
    return figures


def bulk(server: Server, generator: Generator, plan: Plan) -> Figures:
    """Full duplex, as much as goes: MB (10^6 bytes) a second that came back right."""
    figures: Figures = {}
    for clients in BULK:
        answer = generator.run("bulk", server.port, clients=clients, seconds=plan.bulk)
        figures |= {f"bulk.{clients}.rate": answer["rate"] / 1e6, f"bulk.{clients}.cores": answer["cores"]}
        answer = generator.run("bulk", server.port, clients=clients, seconds=plan.bulk, window=NO_WINDOW)
        figures[f"bulk.{clients}.open"] = answer["rate"] / 1e6
    return figures


def memory(server: Server, generator: Generator, plan: Plan) -> Figures:
    """KiB a client that has echoed and is idle: in processes, as people's tools show it."""
    figures = memory_at(server, generator, plan.held)
    if len(figures) < 2 * len(plan.held):
        raise BenchmarkError(f"does not hold {plan.held[-1]} clients")
    return figures


def memory_at(server: Server, generator: Generator, counts: tuple[int, ...]) -> Figures:
    """Return the same for each of the counts, in ascending order, that the server reaches."""
    figures: Figures = {}
    idle = proc.memory(server.pid)
    with generator.hold(server.port, seconds=STEP_SECONDS) as held:
        for clients in counts:
            if held.reach(clients)["held"] < clients:
                break
            cost = proc.memory_held(server.pid, idle)
            figures[f"memory.{clients}.private"] = cost.private / clients
            figures[f"memory.{clients}.proportional"] = cost.proportional / clients
    proc.wait_reaped(server.pid, 0)
    return figures


def idle(server: Server, generator: Generator, plan: Plan) -> Figures:  # noqa: ARG001
    """KiB that a client has to itself, when it has moved bulk and is idle again, more than before."""
    return {"idle.more": moved.more(server, plan.moved)}


def most(server: Server, generator: Generator, plan: Plan) -> Figures:
    """How many clients are held at once, each proven by another echo: until one fails, time or memory runs short."""
    figures: Figures = {}
    began = time.monotonic()
    with generator.hold(server.port, seconds=STEP_SECONDS) as held:
        for total in range(min(STEP, plan.most), plan.most + 1, STEP):
            answer = held.reach(total)
            figures["most.held"] = answer["held"]
            if answer["stopped"] == "out of time":
                figures["most.late"] = 1
            if answer["stopped"] or proc.available() < SCARCE:
                break
        figures["most.seconds"] = time.monotonic() - began
    proc.wait_reaped(server.pid, 0)
    return figures


GROUPS: dict[str, Callable[[Server, Generator, Plan], Figures]] = {
    "connect": connect,
    "pingpong": pingpong,
    "messages": messages,
    "bulk": bulk,
    "memory": memory,
    "idle": idle,
    "most": most,
    "pace": paces.pace,
    "held": paces.held,
    "honest": paces.honest,
}
ROUNDS = {
    "memory": 1,
    "idle": 1,
    "most": 1,
    "pace": 6,
    "held": 2,
    "honest": 3,
}  # of groups that hardly vary, or take long
COMPARED = ("echod", "textbook", "smallest")  # who takes part in the groups of `paces`
FEW = ("pace", "held", "honest")
LONG = ("idle", "most", "growth")  # not for --quick
