"""The manager: whoever started the server, and what it is told: ready, reloading, stopping, or why the server failed.

A manager is told in two ways, as service managers use them: datagrams to NOTIFY_SOCKET (systemd's sd_notify(3)), and a
notification descriptor (s6, and `echod start`): a newline is "ready"; end of file without one is failure, after
`CODE reason`.

One that has a NOTIFY_SOCKET is also told the number of clients, and its watchdog is answered. Without one nothing is
ever due here, and `tick` returns at once.
"""

from __future__ import annotations

import time

from echod.common.cmodules import environ, os, socket
from echod.server.failures import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.log.log import Log

FOREVER = float("inf")
STATUS_INTERVAL_S = 1.0  # from one STATUS= with the number of clients to the next, at least
STOP_MARGIN_S = 5.0  # beyond drain_timeout
YEAR_S = 365 * 86400.0


class Manager:
    """The channel to it. The socket is there from the start: no call needs a new one."""

    def __init__(self, ready_fd: int) -> None:
        """Take the notification descriptor, -1 for none. Raises OSError."""
        self._fd = ready_fd
        self.log: Log | None = None  # until there is one
        path = environ.get(b"NOTIFY_SOCKET", b"")
        self._path = b"\0" + path[1:] if path.startswith(b"@") else path
        self._sock: socket.socket | None = None
        self._doing = "starting"
        self._clients = 0  # as they were at the last tick
        self._told_at = -FOREVER
        self._status_at = self._watchdog_at = self._watchdog_interval = FOREVER
        if path:
            self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._sock.setblocking(False)
            self._watchdog_interval = watchdog_interval()
            self._watchdog_at = time.monotonic() + self._watchdog_interval

    @property
    def due(self) -> float:
        """When `tick` has something to do: only while the watchdog is on or a new number of clients is untold."""
        return min(self._watchdog_at, self._status_at)

    def tick(self, now: float, clients: int) -> None:
        """Answer the watchdog, and tell the number of clients, when it is due."""
        if self._sock is None:
            return
        if clients != self._clients:
            self._clients = clients
            self._status_at = min(self._status_at, self._told_at + STATUS_INTERVAL_S)
        if self._watchdog_at <= now:
            self._watchdog_at = now + self._watchdog_interval
            self._send("WATCHDOG=1")
        if self._status_at <= now:
            self._status_at, self._told_at = FOREVER, now
            self._send(f"STATUS={self._doing}, clients: {clients}")

    def ready(self, doing: str) -> None:
        """Say that clients can connect. Raises BrokenPipeError when `start` was interrupted meanwhile."""
        self._doing = doing
        self._send(f"READY=1\nSTATUS={doing}")
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            try:
                os.write(fd, b"\n")
            finally:
                os.close(fd)

    def failed(self, code: int, reason: str) -> None:
        """Say why the server will not run, before it was ready."""
        self._send(f"STATUS={reason}")
        if self._fd >= 0:
            try:
                os.write(self._fd, f"{code} {reason}".replace("\n", " ").encode(errors="surrogateescape"))
            except OSError:
                return  # nobody waits any more; stderr is left

    def reloading(self) -> None:
        """Say that a reload has begun; `ready` ends it, with a status that lacks the number of clients."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        if self._sock:
            self._status_at = self._told_at + STATUS_INTERVAL_S

    def stopping(self) -> None:
        """Say that a drain has begun."""
        self._doing = "draining"
        self._send("STOPPING=1\nSTATUS=draining")

    def stopping_takes(self, drain_s: float | None) -> None:
        """Ask for the time that the drain may take, None for no limit. Otherwise its own limit would cut it short."""
        seconds = YEAR_S if drain_s is None else drain_s + STOP_MARGIN_S
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def _send(self, message: str) -> None:
        if self._sock is None:
            return
        try:
            self._sock.sendto(message.encode(errors="surrogateescape"), self._path)
        except OSError as error:  # a service manager that has gone is no reason to stop serving
            if self.log:
                report(self.log, "sendto", error)


def watchdog_interval() -> float:
    """Return how often to answer the watchdog, in seconds: half of what sd_watchdog_enabled(3) gives; or infinity."""
    usec = environ.get(b"WATCHDOG_USEC", b"")
    ours = environ.get(b"WATCHDOG_PID", b"%d" % os.getpid()) == b"%d" % os.getpid()
    return int(usec) / 2e6 if ours and usec.isdigit() and int(usec) else FOREVER
