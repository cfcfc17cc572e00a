"""Whether the addresses of `listen` can be had: one that no interface has, a port that another holds, and who."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from echod.cli.identity import user_name
from echod.cli.preflight import ANY, missing
from echod.common.config.addresses import parse_address, write_address
from echod.common.errors import EchodError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from echod.cli.check.plan import Plan

LISTENING = "0A"  # in /proc/net/tcp


def warnings(plan: Plan) -> Iterator[str]:
    """Yield a warning for each address that cannot be bound, with the command that mends it."""
    held = plan.state.get("listen", [])
    for address in plan.config.listen:
        try:
            names = missing(address, held)
        except EchodError as error:
            yield f"listen: {error}; `getent ahosts {address[0]}` asks the resolver"
            continue
        for name in names:
            yield from unbound(parse_address(name))


def unbound(address: tuple[str, int]) -> Iterator[str]:
    """Try to bind an address, without listening; yield why not, once."""
    host, port = address
    if host == "*":
        places: list[tuple[int, Any]] = [(family, (any_host, port)) for family, any_host in ANY.items()]
    else:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        places = [(int(entry[0]), entry[4]) for entry in found]
    for family, where in places:
        error = try_bind(family, where)
        if error and not (host == "*" and family == socket.AF_INET6 and error.errno != errno.EADDRINUSE):
            yield f"listen: {write_address(where)}: {why(family, where, error)}"
            return


def try_bind(family: int, where: Any) -> OSError | None:
    """Bind as the daemon does; returns the error."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(where)
    except OSError as error:
        return error
    return None


def why(family: int, where: Any, error: OSError) -> str:
    """Return why an address cannot be bound, and the command that mends it."""
    host, port = where[0].partition("%")[0], where[1]
    if error.errno == errno.EADDRNOTAVAIL:
        return f"no interface has this address; `ip address add {host} dev {interface()}`"
    if error.errno == errno.EACCES:
        return f"ports below 1024 are for root; `sysctl -w net.ipv4.ip_unprivileged_port_start={port}`"
    if error.errno == errno.EADDRINUSE:
        return f"is taken by {holder(family, host, port)}"
    return f"{error.strerror}; `ip -{6 if family == socket.AF_INET6 else 4} address` shows what there is"


def interface() -> str:
    """Return the interface of the first route that there is."""
    with contextlib.suppress(OSError, IndexError):
        return Path("/proc/net/route").read_text().splitlines()[1].split()[0]
    return "lo"


def holder(family: int, host: str, port: int) -> str:
    """Tell who listens where this address cannot be bound, and the command that ends that."""
    inodes = listening(family, host, port)
    found: dict[int, str] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if not inodes.isdisjoint(os.readlink(f"/proc/{name}/fd/{fd}") for fd in os.listdir(f"/proc/{name}/fd")):
                found[int(name)] = user_name(os.stat(f"/proc/{name}").st_uid)
    if not found:
        return f"a process that cannot be seen; `ss -ltnp sport = :{port}`, as root, tells which"
    pid = min(found)  # its children have copies
    command = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    mend = f"kill {pid}" if pid != 1 else "systemctl list-sockets"
    return f"process {pid} ({command}) of user {found[pid]}; `{mend}`"


def listening(family: int, host: str, port: int) -> set[str]:
    """Return the sockets, as /proc/PID/fd has them, that listen on a port at this address or at any."""
    own = packed(family, host)
    found = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                local, _, number = fields[1].rpartition(":")
                overlap = not own.strip("0") or not local.strip("0") or local.endswith(own)
                if fields[3] == LISTENING and int(number, 16) == port and overlap:
                    found.add(f"socket:[{fields[9]}]")
    return found


def packed(family: int, host: str) -> str:
    """Return an address as /proc/net/tcp has it: words in the machine's order, in hexadecimal (proc(5))."""
    raw = socket.inet_pton(family, host)
    words = [raw[at : at + 4] for at in range(0, len(raw), 4)]
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
