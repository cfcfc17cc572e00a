"""Whether the addresses of `listen` can be bound: no interface may have one, or another process may hold its port."""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import TYPE_CHECKING

from echod.cli import proc
from echod.cli.context import user_name
from echod.cli.preflight import ANY, missing
from echod.common.config.addresses import parse_address, write_address
from echod.common.errors import EchodError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from echod.cli.check.plan import Plan


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
    """Try to bind an address, without listening; if that fails, yield why, once."""
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
    """Bind as the daemon does; return the error, or None."""
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
        return f"is taken by {holder(host, port)}"
    return f"{error.strerror}; `ip -{6 if family == socket.AF_INET6 else 4} address` shows what there is"


def interface() -> str:
    """Return the interface of the first route, or the loopback interface if there is no route."""
    with contextlib.suppress(OSError, StopIteration):
        return proc.first_route()
    return "lo"


def holder(host: str, port: int) -> str:
    """Return the process that listens where this address cannot be bound, and the command that ends that."""
    found = proc.holders(proc.listeners(host, port))
    if not found:
        return f"a process that cannot be seen; `ss -ltnp sport = :{port}`, as root, tells which"
    pid = min(found)  # its children have copies
    command = proc.status(pid)["Name"]
    mend = f"kill {pid}" if pid != 1 else "systemctl list-sockets"
    return f"process {pid} ({command}) of user {user_name(found[pid])}; `{mend}`"
