"""What settings cost, of echod alone: a refusal, and a connection when `deny` has many networks."""

from __future__ import annotations

import contextlib
import socket
import statistics
import time
from typing import TYPE_CHECKING

from generator import HOST, BenchmarkError
from paces import cpu_per_connection
from peers import Echod

if TYPE_CHECKING:
    from collections.abc import Callable

    from generator import Generator
    from plan import Figures, Plan
    from servers import Peer, Server

DENIED = "127.0.1.0/24"  # the generator connects from 127.0.0.x
DENIED_CLIENT = ("127.0.1.1", 0)
MANY = 10000
TIMEOUT_S = 10.0


def deny(count: int) -> str:
    """Return the setting with so many networks, none of which has a client; nothing for 0."""
    networks = [f"10.{number >> 8}.{number & 255}.0/24" for number in range(count)]
    return f"deny = {' '.join(networks)}\n" if networks else ""


def refuse(server: Server, seconds: float) -> dict[str, float]:
    """Connect from an address that is denied, again and again; return how often. Raises BenchmarkError if served."""
    count, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as client:
            client.settimeout(TIMEOUT_S)
            client.bind(DENIED_CLIENT)
            client.connect((HOST, server.port))
            with contextlib.suppress(ConnectionError):
                client.sendall(b"?")
                if client.recv(1):
                    raise BenchmarkError("a client that is denied was served")
        count += 1
    return {"count": count}


def refusal(_peer: Peer, _generator: Generator, plan: Plan) -> Figures:
    """CPU µs of the daemon for a client that is denied."""
    with Echod(settings=f"deny = {DENIED}\n").serving() as server:
        refuse(server, plan.connect / 3)
        return {"refusal.cpu": cpu_per_connection(server, 0, lambda: refuse(server, plan.connect))["cpu"]}


def networks(_peer: Peer, generator: Generator, plan: Plan) -> Figures:
    """CPU of a connection with one network in `deny`, to none; and with MANY, to one: median of slices in turn."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(Echod(settings=deny(count)).serving()) for count in (0, 1, MANY)]

        def slice_of(server: Server) -> float:
            def connect() -> dict[str, float]:
                return generator.run("connect", server.port, clients=8, seconds=plan.connect)

            return cpu_per_connection(server, 0, connect)["cpu"]

        for server in servers:
            slice_of(server)  # warms caches, counts for nothing
        taken = [[slice_of(server) for server in servers] for _ in range(plan.slices)]
    return {
        "networks.1": statistics.median(one / none for none, one, _ in taken),
        f"networks.{MANY}": statistics.median(many / one for _, one, many in taken),
    }


GROUPS: dict[str, Callable[[Peer, Generator, Plan], Figures]] = {"refusal": refusal, "networks": networks}
