"""The end of listeners that a reload or a stop drops: who waits there is served first."""

from __future__ import annotations

import select
import time

from echod.server.failures import attempt, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from echod.common.sockets import Listener
    from echod.log.log import Log

    class Accepting(Protocol):
        """What accepts clients, as far as there is room."""

        def accept(self, listener: Listener) -> int:
            """Accept; returns how many."""

        def capacity(self) -> int:
            """Return for how many more there is room."""


MOST = 5.0  # seconds: signals wait meanwhile
QUIET = 20  # milliseconds without a client that tell that a listener is empty, and no handshake under way


def retire(listeners: list[Listener], acceptor: Accepting, log: Log) -> None:
    """Close listeners, after serving who waits as far as there is room, until nobody has come for QUIET, or for MOST.

    Those that were passed are left to who passed them, with who waits there.
    """
    poller = select.poll()
    own = {listener.fd: listener for listener in listeners if listener.address is not None}
    for fd, listener in own.items():
        attempt(log, "unlist", listener.unlist)
        poller.register(fd, select.POLLIN)
    tries, until = acceptor.capacity(), time.monotonic() + MOST
    try:
        while own and tries > 0 < acceptor.capacity() and time.monotonic() < until and (ready := poller.poll(QUIET)):
            tries -= max(1, acceptor.accept(own[ready[0][0]]))  # one at a time: there may be room for one only
    except (OSError, MemoryError) as error:
        log.warning(f"poll error={reason(error)!r}")
        attempt(log, "accept", serve_waiting, list(own.values()), acceptor, tries)
    for listener in listeners:
        attempt(log, "stop", listener.stop)
        attempt(log, "close", listener.close)


def serve_waiting(listeners: list[Listener], acceptor: Accepting, most: int) -> None:
    """Serve who waits already, `most` clients at most, without poll(2): it fails."""
    for listener in listeners:
        while most > 0 < acceptor.capacity() and (accepted := acceptor.accept(listener)):
            most -= accepted
