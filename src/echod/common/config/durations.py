"""Durations: seconds, None for `never`."""

from __future__ import annotations

from echod.common.config.values import Kind

UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
SIZES = UNITS | {"m": 60.0}
LONGEST = 365 * 86400.0


def duration(least: float) -> Kind:
    """Durations of at least `least` seconds, and `never`."""

    def parse(text: str) -> float | None:
        if text.lower() == "never":
            return None
        seconds = round(parse_seconds(text.lower()), 3)  # whole milliseconds, as they are written
        if not least <= seconds <= LONGEST:
            raise ValueError("is too long" if seconds > LONGEST else "is too short")
        return seconds

    allowed = "a time with its unit, such as 250ms, 30s, 10min, 1h30min or 7d, or never"
    limits = f"at least {write_duration(least)} and at most {write_duration(LONGEST)}" if least else "at most 365d"
    return Kind(f"{allowed}; {limits}", parse, write_duration)


def parse_seconds(text: str) -> float:
    """Read numbers with their units, the largest unit first: `1h30min`. Raises ValueError."""
    total, last = 0.0, float("inf")
    while text or last == float("inf"):
        tail = text.lstrip("0123456789.")
        number, rest = text[: len(text) - len(tail)], tail.lstrip()
        tail = rest.lstrip("abcdefghijklmnopqrstuvwxyz")
        unit = rest[: len(rest) - len(tail)]
        if not number.replace(".", "", 1).isdigit():
            raise ValueError("is not a time")
        if not unit and not tail:
            raise ValueError("has no unit")
        size = SIZES.get(unit)
        if size is None:
            raise ValueError(f"has '{unit or tail}' for a unit")
        if size >= last:
            raise ValueError(f"has '{unit}' after a unit that is no larger")
        total, last, text = total + float(number) * size, size, tail.lstrip()
    return total


def write_duration(seconds: float | None) -> str:
    """Write a duration in the largest unit that holds it whole."""
    if seconds is None:
        return "never"
    milliseconds = round(seconds * 1000)
    for unit, size in reversed(UNITS.items()):
        if milliseconds and milliseconds % round(size * 1000) == 0:
            return f"{milliseconds // round(size * 1000)}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"
