"""The comparison as one picture: small multiples, a bar for each server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metrics import METRICS, Metric
from report import show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from goals import Medians
    from servers import Peer

PANELS = {  # metric: its heading
    "connect.8.rate": "Connections a second\n8 clients in a loop",
    "connect.8.cpu": "Server CPU a connection\nparent and children, µs",
    "connect.64.p99": "Slowest 1 % of connections\n64 clients in a loop, p99, µs",
    "memory.1000.private": "Private memory a client\n1000 held, KiB",
    "pingpong.64x8.rate": "Ping-pong a second\n64 B, 8 clients",
    "bulk.1.rate": "Bulk, both ways\n1 client, MB/s",
    "bulk.4.rate": "Bulk, both ways\n4 clients, MB/s",
    "most.held": "Clients held at once\nall echoing, up to 10,000",
}
OWN, FORKING, OUTSIDE = "#c2410c", "#94a3b8", "#cbd5e1"
INK, QUIET = "#1e293b", "#64748b"
COLUMNS = 4
OUTSIDER = "uvloop"


def colour(peer: Peer) -> str:
    """Return its bar's: echod's own, the others', and a lighter one for what does not fork."""
    return {"echod": OWN, OUTSIDER: OUTSIDE}.get(peer.name, FORKING)


def panel(axes: Axes, metric: Metric, medians: Medians, peers: list[Peer], *, names: bool) -> None:
    """Draw one metric: a bar and its figure for each server, from the top in the order of the table."""
    values = [medians[peer.name].get(metric.key) for peer in peers]
    forking = [value for peer, value in zip(peers, values, strict=True) if value and peer.name != OUTSIDER]
    longest = max((value for value in values if value), default=1)
    top = min(longest, 1.3 * max(forking, default=longest))  # what does not fork may be off the scale
    for row, (peer, value) in enumerate(zip(peers, values, strict=True)):
        own = peer.name == "echod"
        length = min(value or 0, top)
        axes.barh(
            row, length, height=0.72, color=colour(peer), hatch="///" if value and value > top else "", ec="white", lw=0
        )
        axes.text(
            length + top * 0.03,
            row,
            "-" if value is None else show(value),
            va="center",
            fontsize=8.5,
            color=OWN if own else INK,
            fontweight="bold" if own else "normal",
        )
    axes.set_title(PANELS[metric.key], loc="left", fontsize=9.5, color=INK, linespacing=1.35)
    arrow = "longer is better" if metric.better == "more" else "shorter is better"
    axes.set_xlabel(arrow, loc="left", fontsize=8, color=QUIET)
    axes.set_xlim(0, top * 1.32)
    axes.set_ylim(len(peers) - 0.4, -0.6)
    axes.set_xticks([])
    axes.set_yticks(range(len(peers)), [peer.title for peer in peers] if names else [], fontsize=9)
    axes.tick_params(length=0, labelcolor=INK)
    for tick, peer in zip(axes.get_yticklabels(), peers, strict=False):
        tick.set(fontweight="bold" if peer.name == "echod" else "normal", color=OWN if peer.name == "echod" else INK)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(FORKING)


def draw(medians: Medians, peers: list[Peer], path: str) -> None:
    """Write the picture; the suffix says which kind. Raises ImportError without matplotlib."""
    import matplotlib as mpl  # noqa: PLC0415 - only a run that writes needs it
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "echod"  # the same figures, the same file
    shown = [metric for metric in METRICS if metric.key in PANELS]
    shown.sort(key=lambda metric: list(PANELS).index(metric.key))
    lines = -(-len(shown) // COLUMNS)
    size = (12, 0.9 + lines * (0.26 * len(peers) + 1.1))
    figure = Figure(size, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12), facecolor="white")
    grid = figure.subplots(lines, COLUMNS, squeeze=False)
    for place, metric in enumerate(shown):
        panel(grid[place // COLUMNS][place % COLUMNS], metric, medians, peers, names=place % COLUMNS == 0)
    figure.suptitle(
        "Echo servers compared on one machine: medians (a hatched bar is cut)",
        x=0.01,
        ha="left",
        fontsize=13,
        color=INK,
    )
    figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)
