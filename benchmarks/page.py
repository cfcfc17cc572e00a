"""RESULTS.md and its picture: the last full run, to be read without running it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import picture
import report
from generator import HERE

if TYPE_CHECKING:
    from report import Samples
    from servers import Peer

PAGE = """# Benchmark results

What each figure means, and how it is taken: [README.md](README.md).

![The comparison as a picture](results.svg)

{facts}

## What echod is to reach

{reach}
## All figures

The spread is the interquartile range over {rounds} rounds, as a share of the median; figures without one were taken
once.

{comparison}"""

GROWTH = """
## How cost grows

{growth}"""


def write(
    samples: Samples, peers: list[Peer], grown: dict[str, dict[str, Any]], facts: list[str], rounds: int
) -> tuple[str, str]:
    """Write both into this directory and return their paths."""
    paths = os.path.join(HERE, "RESULTS.md"), os.path.join(HERE, "results.svg")
    text = PAGE.format(
        facts="\n".join(f"- {fact}" for fact in facts),
        reach=report.reach(samples),
        rounds=rounds,
        comparison=report.comparison(samples, peers),
    )
    with open(paths[0], "w") as file:
        file.write(text + (GROWTH.format(growth=report.growth(grown, peers)) if grown else ""))
    picture.draw(report.medians(samples), peers, paths[1])
    return paths
