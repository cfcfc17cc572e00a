"""What an upgrade hands over beyond `Launch`, in a file without a name, and what the trial of a version answers.

A succession may be long, and no other process may read it, so it is not on the command line: a word there says in which
descriptor it is.
"""

from __future__ import annotations

from echod.common.cmodules import os
from echod.common.errors import DONE, EchodError
from echod.common.items import Items, read_items, write_items

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Child = tuple[int, int, int, tuple[Any, ...]]  # pid, slot, 1 if it names its client, address of accept(2)

FORMAT = 1  # raised when an item gets another meaning; an item that is new needs no other number
WORD = "state_fd="  # on the command line


def write_child(child: Child) -> str:
    """Return a child as text."""
    pid, slot, named, address = child
    return f"{pid} {slot} {named} {' '.join(map(str, address))}"


def read_child(text: str) -> Child:
    """Read what `write_child` returned. Raises ValueError."""
    pid, slot, named, host, *numbers = text.split(" ")
    return int(pid), int(slot), int(named), (host, *map(int, numbers))


class Succession(Items):
    """Never changed."""

    format: int = 0
    version: str = ""  # that hands over
    oom_fd: int = -1
    lost: int = 0  # lines of the log that are still to be reported
    again: int = 0  # 1 if another upgrade was asked for during this one
    slots: int = 0  # of the scoreboard that were ever taken
    sockets: tuple[int, ...] = ()  # the descriptor of each of `Launch.addresses`
    in_effect: tuple[str, ...] = ()  # the settings of the version that hands over, KEY=VALUE each
    settings: tuple[str, ...] = ()  # those of the new version, as its trial has determined them
    changes: tuple[str, ...] = ()  # a line for each setting that the trial has found changed
    children: tuple[Child, ...] = ()

    LISTS = {  # noqa: RUF012 - never changed
        "sockets": ("socket", str, int),
        "in_effect": ("in_effect", str, str),
        "settings": ("setting", str, str),
        "changes": ("change", str, str),
        "children": ("child", write_child, read_child),
    }

    def write(self, fd: int) -> None:
        """Write it to a file. Raises OSError."""
        write_items(fd, self.replace(format=FORMAT).to_items())

    @classmethod
    def take(cls, words: list[str]) -> Succession | None:
        """Read and close the file that a command line names; None after a start. Raises EchodError, OSError."""
        fds = [word.removeprefix(WORD) for word in words if word.startswith(WORD)]
        if not fds:
            return None
        try:
            fd = int(fds[0])
            items = read_items(fd)
            os.close(fd)
            found = cls.from_items(items)
        except ValueError as error:
            raise EchodError(f"what the previous version hands over cannot be read: {error}; use restart") from None
        if found.format != FORMAT:
            raise EchodError(f"version {found.version} hands over format {found.format}, not {FORMAT}; use restart")
        return found


class Answer(Items):
    """What the trial found: the settings and how they differ, or why this version cannot continue. Never changed."""

    code: int = DONE
    why: str = ""
    settings: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()

    LISTS = {"settings": ("setting", str, str), "changes": ("change", str, str)}  # noqa: RUF012 - never changed
