"""What the launcher hands to the server through execve: words on its command line, beside LISTEN_FDS.

Descriptors survive execve by their numbers; the listening sockets come first, from 3 on, as systemd passes them.
"""

from __future__ import annotations

from echod.common.config.addresses import parse_address, write_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.common.config.addresses import Address


class Handover:
    """The words. Descriptors and ids that are not given are -1; paths are absolute."""

    def __init__(self) -> None:
        self.config_file = ""
        self.base = ""  # where relative paths are taken from
        self.log = "syslog"  # the default of the setting `log`
        self.pid_file = self.board_file = ""
        self.overrides: list[str] = []
        self.addresses: list[Address | None] = []  # of each socket from 3 on; None: it was passed to the launcher
        self.pid_fd = self.board_fd = self.ready_fd = -1
        self.uid = self.gid = -1

    def to_words(self) -> list[str]:
        """Return the words: key=value, each."""
        words = []
        for key, value in vars(self).items():
            if key == "addresses":
                words += [f"listen={write_address(address) if address else ''}" for address in value]
            elif key == "overrides":
                words += [f"set={text}" for text in value]
            elif value not in ("", -1):
                words.append(f"{key}={value}")
        return words

    @classmethod
    def from_words(cls, words: list[str]) -> Handover:
        """Read what `to_words` wrote."""
        handover = cls()
        for word in words:
            key, _, value = word.partition("=")
            if key == "listen":
                handover.addresses.append(parse_address(value) if value else None)
            elif key == "set":
                handover.overrides.append(value)
            else:
                setattr(handover, key, type(getattr(handover, key))(value))
        return handover
