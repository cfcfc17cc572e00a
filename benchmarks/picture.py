"""The comparison as one picture: small multiples, a bar for each server. Plain SVG, a line for each bar and figure."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from report import show

if TYPE_CHECKING:
    from goals import Medians
    from servers import Peer

PANELS = {  # metric: its heading, and which bar is the better one
    "connect.8.rate": ("Connections a second", "8 clients in a loop", "longer"),
    "connect.8.cpu": ("Server CPU a connection", "parent and children, µs", "shorter"),
    "connect.64.p99": ("Slowest 1 % of connections", "64 clients in a loop, p99, µs", "shorter"),
    "memory.1000.private": ("Private memory a client", "1000 held, KiB", "shorter"),
    "pingpong.64x8.rate": ("Ping-pong a second", "64 B, 8 clients", "longer"),
    "bulk.1.rate": ("Bulk, both ways", "1 client, MB/s", "longer"),
    "bulk.16.rate": ("Bulk, both ways", "16 clients, MB/s", "longer"),
    "most.held": ("Clients held at once", "all echoing, up to 10,000", "longer"),
}
OUTSIDER = "uvloop"
COLUMNS = 4
NAMES, COLUMN, BAR, ROW = 130, 230, 160, 20  # widths, the longest bar's, and the height of a row, in pixels
HEAD, PANEL_HEAD, PANEL_FOOT = 44, 42, 30
STYLE = """<style>
text { font: 12px sans-serif; fill: #1e293b }
.h { font-size: 17px } .q { font-size: 11px; fill: #64748b } .n { text-anchor: end }
rect { fill: #94a3b8 } rect.echod { fill: #c2410c } rect.outsider { fill: #cbd5e1 }
text.echod { fill: #c2410c; font-weight: bold }
.cut { stroke: #64748b; stroke-dasharray: 3 3 }
</style>
"""


def text(x: float, y: float, content: str, kind: str = "") -> str:
    """Return a line of text, its left end at x; `n` is for a name: its right end."""
    label = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}"{label}>{escape(content)}</text>\n'


def panel(left: float, top: float, key: str, medians: Medians, peers: list[Peer]) -> str:
    """Return one metric: a bar and its figure for each server, from the top in the order of the table."""
    title, subtitle, better = PANELS[key]
    values = [medians[peer.name].get(key) for peer in peers]
    forking = [value for peer, value in zip(peers, values, strict=True) if value and peer.name != OUTSIDER]
    longest = max((value for value in values if value), default=1)
    most = min(longest, 1.3 * max(forking, default=longest))  # what does not fork may be off the scale
    drawn = text(left, top + 12, title) + text(left, top + 28, subtitle, "q")
    for row, (peer, value) in enumerate(zip(peers, values, strict=True)):
        y = top + PANEL_HEAD + row * ROW
        kind = {"echod": "echod", OUTSIDER: "outsider"}.get(peer.name, "peer") + (" cut" if (value or 0) > most else "")
        width = BAR * min(value or 0, most) / most
        drawn += f'<rect x="{left:g}" y="{y:g}" width="{width:.1f}" height="{ROW - 5}" class="{kind}"/>\n'
        figure = "-" if value is None else show(value)
        drawn += text(round(left + width + 5), y + 12, figure, "echod" if peer.name == "echod" else "")
    return drawn + text(left, top + PANEL_HEAD + len(peers) * ROW + 12, f"{better} is better", "q")


def draw(medians: Medians, peers: list[Peer], machine: str, path: str) -> None:
    """Write the picture, as SVG."""
    keys = [key for key in PANELS if any(key in medians[peer.name] for peer in peers)]
    height = PANEL_HEAD + len(peers) * ROW + PANEL_FOOT
    size = NAMES + COLUMNS * COLUMN, HEAD + -(-len(keys) // COLUMNS) * height
    drawn = text(10, 26, f"Echo servers on {machine}: medians (a dashed bar is cut)", "h")
    for number, key in enumerate(keys):
        row, column = divmod(number, COLUMNS)
        top = HEAD + row * height
        if column == 0:
            for index, peer in enumerate(peers):
                kind = "n echod" if peer.name == "echod" else "n"
                drawn += text(NAMES - 10, top + PANEL_HEAD + index * ROW + 12, peer.title, kind)
        drawn += panel(NAMES + column * COLUMN, top, key, medians, peers)
    box = f'width="{size[0]}" height="{size[1]}" viewBox="0 0 {size[0]} {size[1]}"'
    background = '<path d="M0 0H9999V9999H0z" fill="white"/>\n'
    with open(path, "w") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" {box}>\n{STYLE}{background}{drawn}</svg>\n')
