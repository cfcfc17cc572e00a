"""Whether the addresses of `listen` can be bound: an address may be missing, and another process may hold a port.

The warnings name the process and what it does with the port. They never say how to end it: it is not echod's.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from echod.cli import proc
from echod.cli.context import user_name
from echod.cli.rehearsal import PlaceError, Rehearsal, tcp_sockets
from echod.common.bind_errors import BindError, bind_hint
from echod.common.config.addresses import write_address
from echod.common.sockets import ANY_HOSTS, bind, refuse_overlap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from echod.cli.check.subject import Subject
    from echod.common.sockets import Listener

INIT_PID = 1
NO_INODE = "socket:[0]"  # of a connection that no process has: it is not accepted yet, or was closed
CHOOSE = "or choose another port"


def warnings(subject: Subject) -> Iterator[str]:
    """Yield a warning for each address on which a start would fail, with what to do.

    An address that the running daemon itself holds is no fault: a reload or a restart moves its sockets. Nor is one
    that systemd holds for the unit, by echod.socket.
    """
    own = {subject.pid} if subject.pid else {INIT_PID} if subject.unit else set()
    rehearsal = Rehearsal(subject.pid, subject.held)
    bound: list[Listener] = []
    lacking: list[str] = []
    for address in subject.config.listen:
        try:
            bound += bind(address, subject.config, rehearsal, warn=lacking.append)
        except BindError as error:
            if not isinstance(error.error, PlaceError):
                yield f"listen: {error}; `getent ahosts {address[0]}` asks the resolver"
                continue
            _, where = error.error.place
            if reason := why(where, error.error, own):
                yield f"listen: {write_address(where)}: {reason}"
    yield from (f"listen: {text}" for text in lacking)
    try:
        refuse_overlap(bound)
    except BindError as error:
        yield f"listen: {error}"
    for listener in bound:
        listener.close()


def why(where: Any, error: OSError, own: set[int]) -> str:
    """Return why an address cannot be bound, and what to do; nothing if a process of `own` holds it."""
    if error.errno == errno.EADDRINUSE:
        return holder(where[0].partition("%")[0], where[1], own)
    return f"{error.strerror}{bind_hint(error, where[1])}"


def holder(host: str, port: int, own: set[int]) -> str:
    """Return the process that has a port, what it does with it, and what to do; nothing if it is one of `own`."""
    sockets = sockets_at(host, port)
    found = proc.holders(set(sockets))
    if not found:
        return f"in use by a process that cannot be seen; `ss -tanp sport = :{port}`, as root, names it"
    pid = min(found)  # the others are its children, which have copies
    if own & ({pid} | parents(pid)):
        return ""
    use = next((sockets[target] for _, target in seen(pid) if target in sockets), "has it")
    if pid == INIT_PID:
        return f"process 1 (systemd) {use} for a unit; `systemctl list-sockets` names the unit"
    if pid_file := pid_file_of(pid):
        return f"process {pid}, the echod with pid_file = {pid_file}, {use}; stop that one, {CHOOSE}"
    remedy = "stop the service that it belongs to" if use.startswith("listens") else "wait until that ends"
    return f"process {pid} ({proc.status(pid)['Name']}) of user {user_name(found[pid])} {use}; {remedy}, {CHOOSE}"


def parents(pid: int) -> set[int]:
    """Return the parent of a process, or none if it is init: every daemon is a child of that."""
    with contextlib.suppress(OSError):
        return {proc.parent_of(pid)} - {INIT_PID}
    return set()


def sockets_at(host: str, port: int) -> dict[str, str]:
    """Return the use of each socket that has a port at an address or at any address, by its descriptors' target.

    Only if no socket listens there are those of connections returned: an outgoing one may have the port, too.
    """
    listening, connected = {}, {}
    for one in tcp_sockets():
        same = one.host in (host, f"::ffff:{host}")  # an IPv4-mapped address is the IPv4 one
        if one.port != port or one.target == NO_INODE or not (same or {host, one.host} & set(ANY_HOSTS)):
            continue
        if one.listens:
            listening[one.target] = f"listens on {write_address((one.host, one.port))}"
        else:
            connected[one.target] = f"uses the port for a connection with {write_address(one.remote)}"
    return listening or connected


def seen(pid: int) -> list[tuple[int, str]]:
    """Return the descriptors of a process, or none if it has ended in between."""
    with contextlib.suppress(OSError):
        return list(proc.descriptors(pid))
    return []


def pid_file_of(pid: int) -> str:
    """Return the pid file of a process that is an echod daemon, or nothing: its command line has it."""
    with contextlib.suppress(OSError):
        words = proc.command_line(pid)
        if any(word.endswith("/echod/server/boot.py") for word in words):
            return next((word.partition("=")[2] for word in words if word.startswith("pid_file=")), "")
    return ""
