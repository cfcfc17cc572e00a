"""How data is encoded that one process passes to another: named values, one item `key=value` for each.

On a command line each item is a word, since execve(2) itself puts a NUL after each. In a file the items follow their
length, in bytes and in decimal, with a NUL after the length and after each item:

    20 NUL uid=5 NUL set=umask=077 NUL       (without the spaces)

An item may hold any byte but NUL, a newline too: a path may. Bytes that are not UTF-8 are kept (surrogateescape). The
length tells a file that was written in part. Another version may pass items that are unknown here; they are skipped.
"""

from __future__ import annotations

from echod.common.cmodules import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Self


class Items:
    """Named values that are never changed. A subclass declares its fields as class attributes: they are the defaults.

    A field is text, a number or a tuple. For a tuple `LISTS` has the key of its items, and how an element is written
    and read.
    """

    LISTS: dict[str, tuple[str, Callable[[Any], str], Callable[[str], Any]]] = {}  # noqa: RUF012 - never changed

    def __init__(self, **values: Any) -> None:
        """Set the values that are given. Raises TypeError for one that is not a field."""
        if unknown := values.keys() - self.fields():
            raise TypeError(f"{type(self).__name__} has no {', '.join(unknown)}")
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a {type(self).__name__} is replaced, not changed: {name}")

    @classmethod
    def fields(cls) -> dict[str, Any]:
        """Return the fields and their defaults."""
        found = vars(cls).items()
        return {name: value for name, value in found if name[0] != "_" and isinstance(value, str | int | tuple)}

    def replace(self, **values: Any) -> Self:
        """Return a copy with other values."""
        return type(self)(**(vars(self) | values))

    def to_items(self) -> list[str]:
        """Return an item for each value that is not the default, in the order of the fields."""
        items = []
        for name, default in self.fields().items():
            value = getattr(self, name)
            if isinstance(default, tuple):
                key, write, _ = self.LISTS[name]
                items += [f"{key}={write(element)}" for element in value]
            elif value != default:
                items.append(f"{name}={value}")
        return items

    @classmethod
    def from_items(cls, items: Iterable[str]) -> Self:
        """Read what `to_items` returned. Raises ValueError."""
        fields = cls.fields()
        values: dict[str, Any] = {}
        keys = {key: (name, read) for name, (key, _, read) in cls.LISTS.items()}
        for item in items:
            key, _, text = item.partition("=")
            if key in keys:
                name, read = keys[key]
                values.setdefault(name, []).append(read(text))
            elif isinstance(default := fields.get(key), str | int):
                values[key] = type(default)(text)
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def encode(items: list[str]) -> bytes:
    """Return the bytes of a file that holds these items. Raises ValueError where one holds a NUL."""
    if any("\0" in item for item in items):
        raise ValueError("an item has a NUL character")
    rest = "".join(f"{item}\0" for item in items).encode(errors="surrogateescape")
    return b"%d\0%b" % (len(rest), rest)


def decode(data: bytes) -> list[str]:
    """Return the items of a file. Raises ValueError where it does not hold all that was written, or more."""
    length, nul, rest = data.partition(b"\0")
    if not (nul and length.isdigit() and int(length) == len(rest) and rest[-1:] in (b"", b"\0")):
        raise ValueError("it is truncated")
    return [item.decode(errors="surrogateescape") for item in rest.split(b"\0")[:-1]]


def write_items(fd: int, items: list[str]) -> None:
    """Replace what a file holds. Raises OSError, ValueError."""
    data = encode(items)
    os.ftruncate(fd, 0)
    write_at(fd, data, 0)


def write_at(fd: int, data: bytes, at: int) -> None:
    """Write all of `data` to a file, from the byte `at` on. Raises OSError."""
    written = 0
    while written < len(data):
        written += os.pwrite(fd, data[written:], at + written)


def read_items(fd: int) -> list[str]:
    """Return the items that a file holds. Raises OSError, ValueError."""
    return decode(read_whole(fd))


def read_whole(fd: int) -> bytes:
    """Return all that a file holds. Raises OSError."""
    return os.pread(fd, os.fstat(fd).st_size, 0)
