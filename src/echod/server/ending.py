"""The end of the clients when the daemon stops (TLPI 37.3): SIGTERM, repeated, then SIGKILL when the time is over."""

from __future__ import annotations

import time

from echod.common.cmodules import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.log.log import Log
    from echod.server.children import Children

FOREVER = float("inf")
REPEAT = 0.25  # seconds between the SIGTERMs: one may land before the system call it is to interrupt


class Drain:
    """When the children are signalled again, and when they are killed. `due` is the earlier of the two."""

    def __init__(self, children: Children) -> None:
        self._children = children
        self._kill_at = self.due = FOREVER

    def begin(self, timeout: float | None) -> None:
        """Have the children end within `timeout` seconds; None: in their own time; 0: now."""
        now = time.monotonic()
        self._kill_at = FOREVER if timeout is None else now + timeout
        self.due = now

    def tick(self, now: float, log: Log) -> None:
        """Signal the children, if that is due."""
        if now < self.due:
            return
        killed = now >= self._kill_at
        if killed and self._children.table:
            log.warning(f"drain killed={len(self._children.table)}")
        self._children.send(signal.SIGKILL if killed else signal.SIGTERM)
        self.due = FOREVER if killed else min(now + REPEAT, self._kill_at)
