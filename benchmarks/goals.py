"""What echod is to reach: ratios of medians in one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

Medians = dict[str, dict[str, float]]  # peer, key: median


class Goal(NamedTuple):
    """A figure of echod's, or its ratio to another figure; least: it must be so much at least, else at most."""

    title: str
    key: str
    peer: str  # whose figure it is divided by; empty: none
    must: float
    aim: float | None
    least: bool
    divisor: str = ""  # another key than its own
    unit: str = ""

    def reached(self, medians: Medians) -> float | None:
        """Return the figure; None where it was not measured."""
        try:
            value = medians["echod"][self.key]
            return value / medians[self.peer][self.divisor or self.key] if self.peer else value
        except (KeyError, ZeroDivisionError):
            return None

    def verdict(self, value: float | None) -> str:
        """Return what to call it."""
        if value is None:
            return "not measured"
        sign = 1 if self.least else -1
        if self.aim is not None and sign * value >= sign * self.aim:
            return "aim met"
        return "met" if sign * value >= sign * self.must else "NOT MET"


GOALS = (
    Goal("connections/s, 8 clients, to the C server's", "connect.8.rate", "textbook", 0.35, 0.45, least=True),
    Goal("… to ForkingTCPServer's", "connect.8.rate", "socketserver", 2.5, 3, least=True),
    Goal("… to tcpserver cat's", "connect.8.rate", "tcpserver", 1.5, 1.8, least=True),
    Goal("… to socat's", "connect.8.rate", "socat", 1.0, 1.2, least=True),
    Goal("… to xinetd's", "connect.8.rate", "xinetd", 0.95, 1.1, least=True),
    Goal("server CPU a connection, to the C server's", "connect.8.cpu", "textbook", 3.5, 2.8, least=False),
    Goal("64 clients: p99, to the C server's", "connect.64.p99", "textbook", 3, 2, least=False),
    Goal("ping-pong 64 B, 8 clients, to the C server's", "pingpong.64x8.rate", "textbook", 0.95, 1.0, least=True),
    Goal("ping-pong 16 KiB p50, to own of 64 B", "pingpong.16384x1.p50", "echod", 2, None, False, "pingpong.64x1.p50"),
    Goal("bulk, 1 client, to the C server's", "bulk.1.rate", "textbook", 1.8, 2.2, least=True),
    Goal("bulk, 4 clients, to the C server's", "bulk.4.rate", "textbook", 2.0, 2.4, least=True),
    Goal("private memory an idle client", "memory.1000.private", "", 220, 150, least=False, unit="KiB"),
    Goal("… to ForkingTCPServer's", "memory.1000.private", "socketserver", 0.25, None, least=False),
    Goal("clients held at once, all echoing", "most.held", "", 5000, 10000, least=True),
)


def rows(medians: Medians, show: Callable[[float], str]) -> list[list[str]]:
    """Return the table: goal, figure, must, aim, verdict."""
    table = []
    for goal in GOALS:
        value = goal.reached(medians)
        sign, unit = "≥" if goal.least else "≤", f" {goal.unit}" if goal.unit else ""
        table.append(
            [
                goal.title,
                "-" if value is None else show(value) + unit,
                f"{sign} {show(goal.must)}{unit}",
                "" if goal.aim is None else f"{sign} {show(goal.aim)}{unit}",
                goal.verdict(value),
            ]
        )
    return table
