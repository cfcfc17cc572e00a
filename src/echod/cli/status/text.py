"""A snapshot as aligned lines for people, and a table of the clients."""

from __future__ import annotations

from typing import Any

from echod.common.errors import printable


def size(count: int) -> str:
    """Return a number of bytes for people."""
    if count < 1024:
        return f"{count} B"
    value, unit = count / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f} {unit}"


def span(value: float) -> str:
    """Return a time span for people."""
    whole = int(value)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}min"
    return f"{minutes}min {whole % 60}s" if minutes else f"{value:.1f}s"


def for_people(state: dict[str, Any]) -> str:
    """Return the lines that `status` prints."""
    refused = ", ".join(f"{count} {reason}" for reason, count in state["refused"].items() if count) or "none"
    rows = [
        ("state", f"{state['state']}, pid {state['pid']}, up {span(state['uptime'])}"),
        ("listen", "  ".join(state["listen"]) or "no more"),
        ("clients", f"{state['clients']} of {state['max_children']}, at most {state['peak_clients']} at once so far"),
        ("served", f"{state['accepted']} accepted, {state['closed']} closed"),
        ("refused", refused),
        ("bytes", f"{size(state['bytes_in'])} in, {size(state['bytes_out'])} out"),
        ("config", f"{state['config_file']}, generation {state['generation']}, last reload: {state['last_reload']}"),
    ]
    lines = [f"{name:<9}{text}" for name, text in rows]
    if state["children"]:
        width = max(len(child["peer"]) for child in state["children"]) + 2
        lines += ["", f"{'PID':>8}  {'PEER':<{width}}{'AGE':>10}{'IDLE':>10}{'IN':>12}{'OUT':>12}"]
        lines += [
            f"{child['pid']:>8}  {child['peer']:<{width}}{span(child['age']):>10}{span(child['idle']):>10}"
            f"{size(child['bytes_in']):>12}{size(child['bytes_out']):>12}"
            for child in state["children"]
        ]
    text = "\n".join(lines)
    return printable(text)
