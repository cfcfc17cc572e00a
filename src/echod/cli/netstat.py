"""The sockets of a process's network namespace: how long its accept queues are, and what its descriptors stand for.

In this process's own namespace netlink is asked, else, or if netlink is missing, the tables in /proc are read.
"""

from __future__ import annotations

import contextlib

from echod.cli import proc, sock_diag
from echod.common.cmodules import socket
from echod.common.config.addresses import write_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from echod.cli.sock_diag import Found

FAMILIES = {socket.AF_INET: "tcp", socket.AF_INET6: "tcp6"}
LISTEN = 1 << int(proc.LISTEN, 16)
CONNECTED = 0b1011_0011_0010  # ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING: what has a descriptor
PORTS_ASKED_FOR = 4  # one by one, at most
PORT_DIGITS = 5


def accept_queue(pid: int, listening: list[str]) -> int | None:
    """Return how many clients wait in the accept queues of a process's listeners, or None if that is unknown.

    `listening` has their names.
    """
    wanted = {unscoped(name) for name in listening}
    total, known = 0, False
    for family in FAMILIES:
        with contextlib.suppress(OSError):
            total += sum(waiting for _, local, _, waiting in listeners(pid, family) if local in wanted)
            known = True
    return total if known else None


def sockets_of(pid: int, links: Iterable[str]) -> dict[str, str]:
    """Return a description of those of a process's sockets whose links are given, as descriptors have them.

    A socket is left out if the tables cannot be read.
    """
    wanted = {link for link in links if link.startswith("socket:[")}
    found: dict[str, str] = {}
    ports: set[int] = set()
    for family in FAMILIES:
        with contextlib.suppress(OSError):
            for inode, local, _, _ in listeners(pid, family):
                if (link := link_of(inode)) in wanted:
                    found[link] = f"listens on {write_address(local)}"
                    ports.add(local[1])
    if wanted - found.keys():
        found |= unix_sockets(pid, wanted)
    for family in FAMILIES:
        if wanted - found.keys():
            with contextlib.suppress(OSError):
                for inode, _, remote, _ in connections(pid, family, ports):
                    if (link := link_of(inode)) in wanted:
                        found[link] = f"connection with {write_address(remote)}"
    return found


def link_of(inode: int | str) -> str:
    """Return what a descriptor of a socket points to."""
    return f"socket:[{inode}]"


def listeners(pid: int, family: socket.AddressFamily) -> Iterator[Found]:
    """Yield the listeners. Raises OSError."""
    if proc.has_our_network(pid):
        with contextlib.suppress(OSError):
            yield from list(sock_diag.sockets(family, LISTEN))
            return
    for is_listener, found in table(pid, family):
        if not is_listener:
            return  # the kernel lists listeners first: the rest, a row for each connection, is not read
        yield found


def connections(pid: int, family: socket.AddressFamily, ports: set[int]) -> Iterator[Found]:
    """Yield the connections, at least those with these local ports. Raises OSError."""
    if proc.has_our_network(pid):
        with contextlib.suppress(OSError):
            for port in ports if 0 < len(ports) <= PORTS_ASKED_FOR else {0}:
                yield from sock_diag.sockets(family, CONNECTED, port)
            return
    yield from (found for is_listener, found in table(pid, family) if not is_listener)


def table(pid: int, family: socket.AddressFamily) -> Iterator[tuple[bool, Found]]:
    """Yield the rows of a table in /proc, and True for a listener. Raises OSError."""
    for words in proc.rows(pid, FAMILIES[family]):
        local, remote = (proc.address(word, family) for word in words[1:3])
        waiting = int(words[4].partition(":")[2], 16)
        yield words[3] == proc.LISTEN, (int(words[9]), local, remote, waiting)


def unix_sockets(pid: int, wanted: set[str]) -> dict[str, str]:
    """Return a description of the Unix sockets that are wanted, by their links."""
    found = {}
    with contextlib.suppress(OSError):
        for words in proc.rows(pid, "unix"):
            if (link := link_of(words[6])) in wanted:
                kind = "datagram" if int(words[4], 16) == socket.SOCK_DGRAM else "stream"
                found[link] = " ".join(["unix", kind, "socket", *words[7:8]])
    return found


def unscoped(name: str) -> tuple[str, int]:
    """Return host and port of a listener's name, `HOST:PORT` or `[V6%IFACE]:PORT`: the kernel's have no interface.

    The name is another process's word: a port of more than five digits is none.
    """
    host, _, port = name.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and len(port) <= PORT_DIGITS
    return host.strip("[]").partition("%")[0], int(port) if is_port else -1
