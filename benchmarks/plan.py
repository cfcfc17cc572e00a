"""How long each part of a run lasts, and with how many clients: a full run, and a quick one."""

from __future__ import annotations

from typing import NamedTuple

Figures = dict[str, float]  # by key
MEMORY_AT = (1000,)  # clients held
MOST = 10000
HELD, HELD_QUICK = (0, 1000, 4000), (20,)  # clients held while others connect


class Plan(NamedTuple):
    """How long a run lasts, in seconds, and how many clients are held for the memory."""

    connect: float
    pingpong: float
    bulk: float
    held: tuple[int, ...] = MEMORY_AT
    most: int = MOST
    moved: int = 64  # MiB of each client that is idle then
    pace: float = 4.0  # the reading is in ticks of 10 ms
    beside: float = 1.0  # while others are held
    beside_held: tuple[int, ...] = HELD
    honest: float = 4.0
    slices: int = 2


# Short, and many rounds: on a machine that others share its speed drifts within seconds.
FULL = Plan(connect=0.3, pingpong=0.15, bulk=0.15)
QUICK = Plan(
    connect=0.3, pingpong=0.1, bulk=0.1, held=(50,), most=200, moved=4, pace=0.4, beside=0.2, beside_held=HELD_QUICK,
    honest=0.3,
)  # fmt: skip
