"""Durations: seconds, None for `never`."""

from __future__ import annotations

from echod.common.config.values import Kind

UNITS = (("ms", 0.001), ("s", 1.0), ("min", 60.0), ("h", 3600.0))
LONGEST = 365 * 24 * 3600.0


def duration(least: float, *, never: bool = True) -> Kind:
    """Durations of at least `least` seconds, and `never` where that makes sense."""

    def parse(text: str) -> float | None:
        if never and text == "never":
            return None
        number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
        unit = dict(UNITS).get(text[len(number) :].strip())
        if unit is None or not number.strip().replace(".", "", 1).isdigit() or not number.isascii():
            raise ValueError("is not a duration")
        seconds = round(float(number) * unit, 3)  # whole milliseconds, as they are written
        if not least <= seconds <= LONGEST:
            raise ValueError("is too long" if seconds > LONGEST else "is too short")
        return seconds

    allowed = "a number with a unit, such as 250ms, 30s, 10min or 1h" + (", or never" if never else "")
    return Kind(allowed + (f"; at least {write_duration(least)}" if least else ""), parse, write_duration)


def write_duration(seconds: float | None) -> str:
    """Write a duration in the largest unit that holds it whole."""
    if seconds is None:
        return "never"
    milliseconds = round(seconds * 1000)
    for unit, size in reversed(UNITS):
        if milliseconds and milliseconds % round(size * 1000) == 0:
            return f"{milliseconds // round(size * 1000)}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"
