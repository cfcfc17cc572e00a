"""What a start hands over to the server's image: words on its command line, next to LISTEN_FDS.

Descriptors survive execve(2) by their numbers. The launcher puts the listening sockets first, from 3 on, as systemd
passes them. An upgrade hands over the same, and more: see `succession`.
"""

from __future__ import annotations

from echod.common.config.addresses import parse_address, write_address
from echod.common.items import Items

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.common.config.addresses import Address


class Launch(Items):
    """Never changed. Descriptors and ids that are not given are -1; paths are absolute."""

    config_file: str = ""
    base: str = ""  # where relative paths are taken from
    log: str = "syslog"  # the default of the setting `log`
    pid_file: str = ""
    board_file: str = ""
    overrides: tuple[str, ...] = ()
    addresses: tuple[Address | None, ...] = ()  # of each socket; None: it was passed to the launcher
    pid_fd: int = -1
    board_fd: int = -1
    ready_fd: int = -1
    settings_fd: int = -1  # of a file with the settings, KEY=VALUE each, which the server closes
    uid: int = -1
    gid: int = -1

    LISTS = {  # noqa: RUF012 - never changed
        "overrides": ("set", str, str),
        "addresses": (
            "listen",
            lambda address: write_address(address) if address else "",
            lambda text: parse_address(text) if text else None,
        ),
    }
