"""The kinds of value a setting can have, durations among them: how each is read and written, and what is allowed.

A kind raises ValueError with a few words when it cannot read a text; `settings` adds file, line and key.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


YES = ("yes", "true", "on", "1")
NO = ("no", "false", "off", "0")
BANNER_CHARACTERS = 255
LOGS = ("syslog", "stderr", "none")
LONGEST_NUMBER = 10  # digits
UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
SIZES = UNITS | {"m": 60.0}
LONGEST = 365 * 86400.0


class Kind:
    """How the values of one kind are read from text and written back; `words`: those that a shell can complete."""

    __slots__ = ("allowed", "parse", "words", "write")

    def __init__(
        self, allowed: str, parse: Callable[[str], Any], write: Callable[[Any], str] = str, words: tuple[str, ...] = ()
    ) -> None:
        self.allowed = allowed
        self.parse = parse
        self.write = write
        self.words = words


def refuse_quotes(text: str) -> None:
    """Raise ValueError for a value in quotes, which other programs' files have."""
    if text[:1] in ("'", '"'):
        raise ValueError("is in quotes; leave them out")


def split_list(text: str) -> list[str]:
    """Split a list at commas and whitespace; empty items fall out."""
    return text.replace(",", " ").split()


def integer(low: int, high: int) -> Kind:
    """Whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        is_number = text.isascii() and text.removeprefix("-").isdigit()
        if not is_number or len(text) > LONGEST_NUMBER or not low <= int(text) <= high:
            raise ValueError("is not a whole number" if not is_number else "is out of range")
        return int(text)

    return Kind(f"a whole number from {low} to {high}", parse)


def choice(*words: str) -> Kind:
    """One of a few words, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError("is unknown")
        return text.lower()

    return Kind(" or ".join((", ".join(words[:-1]), words[-1])), parse, words=words)


def parse_bool(text: str) -> bool:
    """Read yes or no, in any case, or what others write for it."""
    word = text.lower()
    if word not in (*YES, *NO):
        raise ValueError("is unknown")
    return word in YES


def parse_umask(text: str) -> int:
    """Read an octal mask of permission bits."""
    if 1 <= len(text) <= 4 and not text.strip("01234567") and int(text, 8) <= 0o777:
        return int(text, 8)
    raise ValueError("is not an octal mask")


def parse_name(text: str) -> str:
    """Read a user's or group's name or number; whether it exists is for the launcher to look up."""
    if not text or any(c.isspace() or c in ":/," for c in text):
        raise ValueError("is not a name")
    return text


def parse_log(text: str) -> str:
    """Read one of LOGS, in any case, or a path that cannot be taken for a word."""
    if text.lower() in LOGS:
        return text.lower()
    if not text.startswith(("/", "./", "../")):
        raise ValueError("is not a path from /, and not one of the words")
    return text


def parse_bytes(text: str) -> int | None:
    """Read a number of bytes, or `never`, in any case."""
    found: int | None = None if text.lower() == "never" else integer(1, 9_999_999_999).parse(text)
    return found


def parse_banner(text: str) -> str:
    """Read one line of text."""
    if len(text) > BANNER_CHARACTERS:
        raise ValueError("is too long")
    if not text.isprintable():
        raise ValueError("has a character that cannot be printed")
    return text


BANNER = Kind(f"a line of at most {BANNER_CHARACTERS} characters", parse_banner)
BYTES = Kind(
    "a whole number of bytes from 1, or never", parse_bytes, lambda value: "never" if value is None else str(value)
)


def many(item: Callable[[str], Any], write: Callable[[Any], str], allowed: str, least: int = 0) -> Kind:
    """Make the kind of lists of `item`, at least `least` of them, none twice."""

    def parse(text: str) -> tuple[Any, ...]:
        found, split = [], split_list(text)
        for word in split:
            try:
                refuse_quotes(word)
                found.append(item(word))
            except ValueError as error:
                raise ValueError(f"has '{word}', which {error}" if len(split) > 1 else str(error)) from None
        if len(found) < least:
            raise ValueError("is empty")
        if len(set(found)) < len(found):
            raise ValueError("names one of them twice")
        return tuple(found)

    return Kind(allowed, parse, lambda values: ", ".join(map(write, values)))


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
            raise ValueError(f"has the unknown unit '{unit or tail}'")
        if size >= last:
            raise ValueError(f"has '{unit}' after a unit that is not larger")
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
