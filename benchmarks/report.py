"""The figures made readable: medians, spreads, ratios, and the page that keeps them."""

from __future__ import annotations

import datetime as dt
import os
import platform
import statistics
from typing import TYPE_CHECKING, Any

import goals
from metrics import METRICS

if TYPE_CHECKING:
    from servers import Peer

Samples = dict[str, dict[str, list[float]]]  # peer, key: one figure a round


def show(value: float) -> str:
    """Return a figure in three digits or so: 0.42, 3.5, 81.4, 23,456."""
    if 0 < abs(value) < 0.1:
        return f"{value:.1g}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}".removesuffix(".0") if abs(value) >= 10 else f"{value:.2f}".rstrip("0").rstrip(".")


def spread(values: list[float]) -> float:
    """Return the interquartile range, as a share of the median; 0 where there is only one value."""
    median = statistics.median(values)
    if len(values) < 2 or not median:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / median


def medians(samples: Samples) -> goals.Medians:
    """Return the median over the rounds."""
    return {
        peer: {key: statistics.median(values) for key, values in figures.items()} for peer, figures in samples.items()
    }


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return Markdown that reads well in a terminal too: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: list[str]) -> str:
        first, *others = cells
        return " | ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(others, widths[1:], strict=True))])

    rule = " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    return "".join(f"| {text} |\n" for text in [line(header), rule, *map(line, rows)])


def cell(values: list[float] | None) -> str:
    """Return median and spread of one peer's figures."""
    if not values:
        return "-"
    return show(statistics.median(values)) + (f" ±{spread(values):.0%}" if len(values) > 1 else "")


def comparison(samples: Samples, peers: list[Peer]) -> str:
    """Return medians with their spreads."""
    rows = []
    for metric in METRICS:
        if any(metric.key in samples[peer.name] for peer in peers):
            title = f"{metric.title}{', ' + metric.unit if metric.unit else ''}"
            rows.append([title, *(cell(samples[peer.name].get(metric.key)) for peer in peers)])
    return table(["median ±IQR", *(peer.title for peer in peers)], rows)


def unfinished(samples: Samples, peers: list[Peer]) -> list[str]:
    """Return which servers were not refused more clients, but were too slow in taking them."""
    return [
        f"{peer.title}: out of time while clients were added" for peer in peers if "most.late" in samples[peer.name]
    ]


def reach(samples: Samples) -> str:
    """Return what echod is to reach, and whether it does."""
    return table(["echod", "median", "must", "aim", ""], goals.rows(medians(samples), show))


def growth(grown: dict[str, dict[str, Any]], peers: list[Peer]) -> str:
    """Return how cost grows with the number of clients held."""
    titles = {peer.name: peer.title for peer in peers}
    text = ""
    for figure, title in (("private", "private memory a client, KiB, so many held"),):
        counts = sorted({count for taken in grown.values() for count in taken[figure]})
        rows = [
            [titles[name], *(show(taken[figure][count]) if count in taken[figure] else "-" for count in counts)]
            for name, taken in grown.items()
        ]
        text += table([title, *(f"{count:,}" for count in counts)], rows) + "\n"
    return text.rstrip("\n") + "\n"


def processor() -> str:
    """Return what the figures depend on most."""
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores"


def machine() -> list[str]:
    """Return what else they depend on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.release()}, {platform.freedesktop_os_release().get('PRETTY_NAME', '')}"
    return [
        f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d %H:%M} UTC",
        f"{system}, {memory:.0f} GiB; load {os.getloadavg()[0]:.2f} at the start",
    ]
