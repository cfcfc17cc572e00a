"""Count the page faults that a connection costs a server and its child.

The kernel counts the faults of each process: minflt of the server, and cminflt of the children that it has reaped
(proc(5)). They repeat on a busy machine, where times do not.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

from generator import HOST, BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from servers import Server

MESSAGE = b"hello\n"
BURST_CLIENTS = 200
ALONE_CLIENTS = 40
TIMEOUT_S = 20.0
LOOK_S = 0.0005
SOMAXCONN = "/proc/sys/net/core/somaxconn"


class Faults(NamedTuple):
    """Page faults per connection, of the server and of the child."""

    server: float
    child: float

    @property
    def total(self) -> float:
        """Return the faults of both."""
        return self.server + self.child


class Summary(NamedTuple):
    """Several rounds of one load: the round in the middle, and the totals of the lowest and the highest."""

    median: Faults
    lowest: float
    highest: float


def summary(rounds: Iterable[Faults]) -> Summary:
    """Return what several rounds come to."""
    ranked = sorted(rounds, key=lambda faults: faults.total)
    return Summary(ranked[len(ranked) // 2], ranked[0].total, ranked[-1].total)


def look(pid: int) -> tuple[str, int, int]:
    """Return the state of a process, its faults, and the faults of the children that it has reaped."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return fields[0], int(fields[7]), int(fields[8])


def has_children(pid: int) -> bool:
    """Return True while the process has a child, running or not yet reaped."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return bool(file.read(1))


def wait_settled(pid: int) -> tuple[int, int]:
    """Wait until the server has reaped every child and sleeps; return its faults and its children's.

    Raises BenchmarkError after TIMEOUT_S.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        if not has_children(pid):
            state, own, reaped = look(pid)
            if state == "S":
                return own, reaped
        if time.monotonic() > deadline:
            raise BenchmarkError(f"the server still has children {TIMEOUT_S:g} s after its last client")
        time.sleep(LOOK_S)


def connect(server: Server) -> socket.socket:
    """Return a connection whose client has sent a line and half-closed."""
    conn = socket.create_connection((HOST, server.port), TIMEOUT_S)
    conn.sendall(MESSAGE)
    conn.shutdown(socket.SHUT_WR)
    return conn


def finish(conn: socket.socket) -> None:
    """Read the echo and the end of file, and close. Raises BenchmarkError for any other answer."""
    with conn:
        answer = b""
        while data := conn.recv(len(MESSAGE) + 1):
            answer += data
    if answer != MESSAGE:
        raise BenchmarkError(f"sent {MESSAGE!r}, got {answer!r}")


def in_a_burst(server: Server) -> Faults:
    """Let clients gather while the server is stopped, then let it serve them all; return the mean per connection."""
    with open(SOMAXCONN) as file:
        clients = min(BURST_CLIENTS, int(file.read()))  # more would not fit into the accept queue
    before = wait_settled(server.pid)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        conns = [connect(server) for _ in range(clients)]
    finally:
        os.kill(server.pid, signal.SIGCONT)
    for conn in conns:
        finish(conn)
    after = wait_settled(server.pid)
    return Faults(*((then - now) / clients for then, now in zip(after, before, strict=True)))


def one_at_a_time(server: Server) -> Faults:
    """Serve clients of which each begins when the last one is reaped; return the one in the middle.

    The median leaves out the clients during which the machine did something else.
    """
    found = []
    before = wait_settled(server.pid)
    for _ in range(ALONE_CLIENTS):
        finish(connect(server))
        after = wait_settled(server.pid)
        found.append(Faults(after[0] - before[0], after[1] - before[1]))
        before = after
    return Faults(statistics.median(each.server for each in found), statistics.median(each.child for each in found))
