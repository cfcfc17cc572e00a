"""Whether the addresses of `listen` can be bound: no interface may have one, or another process may hold its port."""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import TYPE_CHECKING

from echod.cli import proc
from echod.cli.context import user_name
from echod.cli.rehearsal import PlaceError, Rehearsal, listeners
from echod.common.bind_errors import BindError
from echod.common.config.addresses import write_address
from echod.common.sockets import bind, refuse_overlap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from echod.cli.check.plan import Plan
    from echod.common.sockets import Listener


def warnings(plan: Plan) -> Iterator[str]:
    """Yield a warning for each address on which a start would fail, with the command that mends it."""
    rehearsal = Rehearsal(plan.pid, plan.state.get("listen", []))
    bound: list[Listener] = []
    for address in plan.config.listen:
        try:
            bound += bind(address, plan.config, rehearsal)
        except BindError as error:
            if isinstance(error.error, PlaceError):
                family, where = error.error.place
                yield f"listen: {write_address(where)}: {why(family, where, error.error)}"
            else:
                yield f"listen: {error}; `getent ahosts {address[0]}` asks the resolver"
    try:
        refuse_overlap(bound)
    except BindError as error:
        yield f"listen: {error}"
    for listener in bound:
        listener.close()


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
    found = proc.holders(listeners(host, port))
    if not found:
        return f"a process that cannot be seen; `ss -ltnp sport = :{port}`, as root, tells which"
    pid = min(found)  # its children have copies
    command = proc.status(pid)["Name"]
    mend = f"kill {pid}" if pid != 1 else "systemctl list-sockets"
    return f"process {pid} ({command}) of user {user_name(found[pid])}; `{mend}`"
