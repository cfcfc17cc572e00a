"""Sizes, time spans and rates, as people read them."""

from __future__ import annotations

KIB = 1024
DAY, HOUR, MINUTE = 86400, 3600, 60


def size(count: float) -> str:
    """Return a number of bytes."""
    if count < KIB:
        return f"{count:.0f} B"
    value, unit = count / KIB, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if value < KIB:
            break
        value, unit = value / KIB, larger
    return f"{value:.1f} {unit}"


def span(value: float) -> str:
    """Return a time span, given in seconds."""
    whole = int(value)
    days, hours, minutes = whole // DAY, whole // HOUR % 24, whole // MINUTE % 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}min"
    return f"{minutes}min {whole % MINUTE}s" if minutes else f"{value:.1f}s"


def per_second(rate: float | None, unit: str = "") -> str:
    """Return a rate in parentheses after a blank, nothing where there is none: of bytes, or of things."""
    if rate is None:
        return ""
    return f" ({size(rate)}/s)" if unit == "B" else f" ({rate:.1f}/s)"
