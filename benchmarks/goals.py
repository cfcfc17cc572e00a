"""What echod is to reach: ratios of medians in one run.

Where the interpreter is the limit, to the smallest loop in Python that accepts and forks; else to the best that forks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

Medians = dict[str, dict[str, float]]  # peer, key: median
FORKING = ("textbook", "xinetd", "socat", "tcpserver", "socketserver", "smallest")


class Goal(NamedTuple):
    """A figure of echod's, or its ratio to the best of `peers`; least: it must be so much at least, else at most."""

    title: str
    key: str
    peers: tuple[str, ...]
    must: float
    aim: float
    least: bool
    unit: str = ""

    def reached(self, medians: Medians) -> float | None:
        """Return the figure; None where it was not measured."""
        own = medians.get("echod", {}).get(self.key)
        others = [medians[peer][self.key] for peer in self.peers if self.key in medians.get(peer, {})]
        if own is None or not self.peers:
            return own
        best = (max if self.least else min)(others, default=0)
        return own / best if best else None

    def verdict(self, value: float | None) -> str:
        """Return what to call it."""
        if value is None:
            return "not measured"
        sign = 1 if self.least else -1
        if sign * value >= sign * self.aim:
            return "aim met"
        return "met" if sign * value >= sign * self.must else "NOT MET"


LOOP, TO_BEST = ("smallest",), "to the best that forks"
GOALS = (
    Goal("connections/s, 8 clients, to the smallest loop's", "connect.8.rate", LOOP, 0.88, 0.95, least=True),
    Goal("… to ForkingTCPServer's", "connect.8.rate", ("socketserver",), 1.9, 3, least=True),
    Goal("… to tcpserver cat's", "connect.8.rate", ("tcpserver",), 1.2, 1.5, least=True),
    Goal("server CPU a connection, to the smallest loop's", "connect.8.cpu", LOOP, 1.15, 1.06, least=False),
    Goal("64 clients: p99, to the smallest loop's", "connect.64.p99", LOOP, 1.4, 1.1, least=False),
    Goal("ping-pong 64 B, 8 clients, to the smallest loop's", "pingpong.64x8.rate", LOOP, 0.93, 1, least=True),
    *(
        Goal(f"ping-pong {size} KiB, p50, {TO_BEST}", f"messages.{size}.p50", FORKING, 1.15, 1, least=False)
        for size in (1, 16, 64, 256)
    ),
    *(
        Goal(f"bulk, {clients} at a time, {TO_BEST}", f"bulk.{clients}.rate", FORKING, 0.95, 1.05, least=True)
        for clients in (1, 4, 16)
    ),
    Goal("private memory an idle client, to the smallest loop's", "memory.1000.private", LOOP, 1.4, 1.15, least=False),
    Goal("… more after it has moved 64 MiB", "idle.more", (), 64, 0, least=False, unit="KiB"),
    Goal("clients held at once, all echoing", "most.held", (), 10000, 10000, least=True),
    Goal("a connection every 20 ms: CPU, to the smallest loop's", "pace.cpu", LOOP, 1.15, 1, least=False),
    Goal("… p50, to the smallest loop's", "pace.p50", LOOP, 1.15, 1, least=False),
    Goal("connections/s, 4,000 others held, to the smallest loop's", "held.4000.rate", LOOP, 0.9, 1, least=True),
    Goal("… server CPU of each, to the smallest loop's", "held.4000.cpu", LOOP, 1.05, 1, least=False),
    Goal("one network in deny: CPU a connection, to none", "networks.1", (), 1.15, 1.08, least=False),
    Goal("10,000 networks in deny: CPU a connection, to one", "networks.10000", (), 1.1, 1, least=False),
)


def rows(medians: Medians, show: Callable[[float], str]) -> list[list[str]]:
    """Return the table: goal, figure, must, aim, verdict."""
    table = []
    for goal in GOALS:
        value = goal.reached(medians)
        sign, unit = "≥" if goal.least else "≤", f" {goal.unit}" if goal.unit else ""
        figures = ["-" if value is None else show(value) + unit, f"{sign} {show(goal.must)}{unit}"]
        table.append([goal.title, *figures, f"{sign} {show(goal.aim)}{unit}", goal.verdict(value)])
    return table
