"""What is handed to the server through execve: words on its command line, beside LISTEN_FDS.

Descriptors survive execve by their numbers. The launcher puts the listening sockets first, from 3 on, as systemd passes
them. A server that executes another version leaves them where they are, and hands on what may be long in a file without
a name, a word each line.
"""

from __future__ import annotations

from echod.common.cmodules import os
from echod.common.config.addresses import parse_address, write_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from echod.common.config.addresses import Address

    Child = tuple[int, int, int, tuple[Any, ...]]  # pid, slot, 1 where it names its client, address of accept(2)

IN_FILE = ("version", "lost", "again", "settings", "children")


class Handover:
    """The words. Descriptors and ids that are not given are -1; paths are absolute."""

    def __init__(self) -> None:
        self.config_file = ""
        self.base = ""  # where relative paths are taken from
        self.log = "syslog"  # the default of the setting `log`
        self.pid_file = self.board_file = ""
        self.overrides: list[str] = []
        self.addresses: list[Address | None] = []  # of each socket; None: it was passed to the launcher
        self.pid_fd = self.board_fd = self.ready_fd = -1
        self.uid = self.gid = -1
        # of an upgrade only
        self.state_fd = self.oom_fd = -1
        self.sockets: list[int] = []  # the descriptor of each address; none: from 3 on
        self.version = ""  # that hands over
        self.lost = 0  # lines of the log that are still to be reported
        self.again = 0  # upgrades that were asked for meanwhile
        self.settings: list[str] = []  # KEY=VALUE each, as the trial has read them
        self.children: list[Child] = []

    def to_words(self) -> list[str]:
        """Return the words of the command line: key=value, each."""
        words = []
        for key, value in vars(self).items():
            if key == "addresses":
                words += [f"listen={write_address(address) if address else ''}" for address in value]
            elif key == "overrides":
                words += [f"set={text}" for text in value]
            elif key == "sockets":
                words += [f"socket={fd}" for fd in value]
            elif key not in IN_FILE and value not in ("", -1):
                words.append(f"{key}={value}")
        return words

    @classmethod
    def from_words(cls, words: list[str]) -> Handover:
        """Read what `to_words` wrote. Raises ValueError, AttributeError."""
        handover = cls()
        for word in words:
            handover._read(word)
        return handover

    def read_state(self) -> None:
        """Read what `write_state` wrote, if there is such a file. Raises OSError, ValueError, AttributeError."""
        if self.state_fd >= 0:
            for line in read_whole(self.state_fd).decode(errors="surrogateescape").split("\n")[:-1]:
                self._read(line)

    def write_state(self) -> None:
        """Write to `state_fd` what may be long. Raises OSError."""
        lines = [f"version={self.version}", f"lost={self.lost}", f"again={self.again}"]
        lines += [f"setting={text}" for text in self.settings]
        lines += [f"child={pid} {slot} {named} {' '.join(map(str, at))}" for pid, slot, named, at in self.children]
        os.ftruncate(self.state_fd, 0)
        rest = "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")
        while rest:
            rest = rest[os.pwrite(self.state_fd, rest, os.fstat(self.state_fd).st_size) :]

    def _read(self, word: str) -> None:
        key, _, value = word.partition("=")
        if key == "listen":
            self.addresses.append(parse_address(value) if value else None)
        elif key == "set":
            self.overrides.append(value)
        elif key == "socket":
            self.sockets.append(int(value))
        elif key == "setting":
            self.settings.append(value)
        elif key == "child":
            pid, slot, named, host, *numbers = value.split(" ")
            self.children.append((int(pid), int(slot), int(named), (host, *map(int, numbers))))
        else:
            setattr(self, key, type(getattr(self, key))(value))


def read_whole(fd: int) -> bytes:
    """Return all that a file holds. Raises OSError."""
    return os.pread(fd, os.fstat(fd).st_size, 0)
