"""What ends at a stop or a reload: the clients of a daemon that stops (TLPI 37.3), and listeners that are removed."""

from __future__ import annotations

import select
import time

from echod.common.cmodules import signal
from echod.server.failures import attempt, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from echod.common.sockets import Listener
    from echod.log.log import Log
    from echod.server.children import Children

    class Accepting(Protocol):
        """An acceptor, as far as `retire` uses it."""

        log: Log

        def accept(self, listener: Listener) -> int:
            """Accept; return how many."""

        def capacity(self) -> int:
            """Return for how many more clients there is room."""


FOREVER = float("inf")
REPEAT_S = 0.25  # between the SIGTERMs: one may land before the system call that it is to interrupt
RETIRE_S = 5.0  # at most, since signals wait meanwhile
RETIRE_QUIET_MS = 20  # without a client: then the listener is empty, and no handshake is in progress


class Drain:
    """When the children are signalled again, and when they are killed. `due` is the earlier of the two."""

    def __init__(self, children: Children) -> None:
        self._children = children
        self._kill_at = self.due = FOREVER

    def begin(self, timeout: float | None) -> None:
        """Let the children end within `timeout` seconds; None: without a limit; 0: now."""
        now = time.monotonic()
        self._kill_at = FOREVER if timeout is None else now + timeout
        self.due = now

    def tick(self, now: float) -> None:
        """Signal the children, if that is due."""
        if now < self.due:
            return
        killed = now >= self._kill_at
        if killed and self._children.table:
            self._children.log.warning(f"drain killed={len(self._children.table)}")
        self._children.send(signal.SIGKILL if killed else signal.SIGTERM)
        self.due = FOREVER if killed else min(now + REPEAT_S, self._kill_at)


def retire(listeners: list[Listener], acceptor: Accepting) -> None:
    """Close listeners; serve the clients in their accept queues first, as far as there is room.

    That ends when no client has come for RETIRE_QUIET_MS, or after RETIRE_S. A socket that was passed is left to the
    process that passed it, with the clients in its accept queue.
    """
    log, poller = acceptor.log, select.poll()
    own = {listener.fd: listener for listener in listeners if listener.address is not None}
    for fd, listener in own.items():
        attempt(log, "listen", listener.unlist)
        poller.register(fd, select.POLLIN)
    tries, until = acceptor.capacity(), time.monotonic() + RETIRE_S
    try:
        while (
            own
            and tries > 0 < acceptor.capacity()
            and time.monotonic() < until
            and (ready := poller.poll(RETIRE_QUIET_MS))
        ):
            tries -= max(1, acceptor.accept(own[ready[0][0]]))  # one at a time: there may be room for one only
    except (OSError, MemoryError) as error:
        log.warning(f"error call=poll why={reason(error)!r}")
        attempt(log, "accept4", serve_waiting, list(own.values()), acceptor, tries)
    for listener in listeners:
        attempt(log, "shutdown", listener.stop)
        attempt(log, "close", listener.close)


def serve_waiting(listeners: list[Listener], acceptor: Accepting, most: int) -> None:
    """Serve the clients in the accept queues, `most` at most, without poll(2), which fails."""
    for listener in listeners:
        while most > 0 < acceptor.capacity() and (accepted := acceptor.accept(listener)):
            most -= accepted
