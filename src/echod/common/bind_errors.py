"""Why an address cannot be listened on, and what to do."""

from __future__ import annotations

import errno

from echod.common.cmodules import socket
from echod.common.config.addresses import write_address
from echod.common.errors import FAILED, NOT_PERMITTED, EchodError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.common.config.addresses import Address

PRIVILEGED_PORTS = 1024  # the default of net.ipv4.ip_unprivileged_port_start (ip(7))


class BindError(EchodError):
    """An address cannot be listened on; `error` says why."""

    def __init__(self, text: str, error: OSError) -> None:
        port = text.rpartition(":")[2].rstrip(")")
        why = f"{error.strerror}{bind_hint(error, int(port) if port.isdecimal() else 0)}"
        super().__init__(f"cannot listen on {text}: {why}", NOT_PERMITTED if error.errno == errno.EACCES else FAILED)
        self.error = error


def bind_hint(error: OSError, port: int) -> str:
    """Return what to do if bind(2) has failed, or nothing."""
    if error.errno == errno.EADDRINUSE:  # the holder may be a connection, too, or this daemon
        return "; `echod check` names the process that has the port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "; no interface has this address, `ip -br address` lists those there are"
    if error.errno == errno.EACCES and port < PRIVILEGED_PORTS:
        return "; ports below 1024 need CAP_NET_BIND_SERVICE: start as root, or by echod.socket, or with low-port.conf"
    if error.errno == errno.EACCES:
        return "; a security policy refuses this port (SELinux, a sandbox, net.ipv4.ip_unprivileged_port_start)"
    return ""


def unresolved(address: Address, error: OSError) -> BindError:
    """Return the error for a host that the resolver does not find; `error` is its gaierror."""
    why = str(error.args[-1])
    try:
        socket.if_nametoindex(address[0])
    except OSError:
        return BindError(write_address(address), OSError(0, why))
    hint = f"{address[0]} is an interface; `ip -br address show dev {address[0]}` lists its addresses"
    return BindError(write_address(address), OSError(0, f"{why}; {hint}"))
