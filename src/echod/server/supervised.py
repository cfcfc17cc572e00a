"""A server whose service manager listens (NOTIFY_SOCKET): it answers the watchdog, and tells the number of clients.

Without a manager the server is of the class above, and none of this is on a connection's way.
"""

from __future__ import annotations

import time

from echod.common.scoreboard import DRAINING
from echod.server.server import FOREVER, Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STATUS_INTERVAL = 1.0  # seconds from one STATUS= to the next, at least
MARGIN = 5.0  # seconds beyond drain_timeout for a stop
YEAR = 365 * 86400.0


class Supervised(Server):
    """The daemon under systemd. A time-out exists while the watchdog is on or a new number of clients is untold."""

    def __init__(self, *args: Any) -> None:
        """See Server; raises what that does."""
        self._status_at = self._watchdog_at = FOREVER
        self._clients, self._told_at = 0, -FOREVER
        super().__init__(*args)
        self._interval = self.notify.watchdog_interval()
        if self._interval != FOREVER:
            self._watchdog_at = time.monotonic() + self._interval

    def _due(self) -> float:
        return min(super()._due(), self._watchdog_at, self._status_at)

    def tick(self) -> None:
        """Do what is due, the manager's part too."""
        super().tick()
        now, clients = time.monotonic(), len(self.children.table)
        if clients != self._clients:
            self._clients = clients
            self._status_at = min(self._status_at, self._told_at + STATUS_INTERVAL)
        if self._watchdog_at <= now:
            self._watchdog_at = now + self._interval
            self.notify.alive()
        if self._status_at <= now:
            self._status_at, self._told_at = FOREVER, now
            doing = "draining" if self.state == DRAINING else f"serving on {self.names()}"
            self.notify.status(f"{doing}, clients: {clients}")

    def reload(self) -> None:
        """Act on SIGHUP; what that says of the server's status lacks the number of clients."""
        super().reload()
        self._status_at = self._told_at + STATUS_INTERVAL

    def stop(self, timeout: float | None) -> None:
        """Stop as Server does; the manager's own time limit is not to cut a drain short."""
        super().stop(timeout)
        self.notify.stopping_takes(YEAR if timeout is None else timeout + MARGIN)
