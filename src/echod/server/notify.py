"""What whoever started the server is told: ready, reloading, stopping, or why it failed.

Two ways, as service managers use them: datagrams to NOTIFY_SOCKET (systemd's sd_notify(3)), and a notification
descriptor (s6): a newline is "ready"; end of file without one is failure, after `CODE reason`.
"""

from __future__ import annotations

import time

from echod.common.cmodules import environ, os, socket
from echod.server.failures import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.log.log import Log


class Notify:
    """The channel to the service manager, or to none. The socket is there from the start: no call needs a new one."""

    def __init__(self, fd: int) -> None:
        """Take the notification descriptor, -1 for none. Raises OSError."""
        self._fd = fd
        self.log: Log | None = None  # until there is one
        path = environ.get(b"NOTIFY_SOCKET", b"")
        self._path = b"\0" + path[1:] if path.startswith(b"@") else path
        self._sock: socket.socket | None = None
        self.has_manager = bool(path)
        if path:
            self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._sock.setblocking(False)

    def ready(self, text: str) -> None:
        """Say that clients can connect. Raises BrokenPipeError when `start` was interrupted meanwhile."""
        self._send(f"READY=1\nSTATUS={text}")
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
        """Say that a reload has begun; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that a drain has begun."""
        self._send("STOPPING=1\nSTATUS=draining")

    def stopping_takes(self, seconds: float) -> None:
        """Ask for that much time before what is left is killed."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def status(self, text: str) -> None:
        """Say what the server is doing."""
        self._send(f"STATUS={text}")

    def alive(self) -> None:
        """Answer the watchdog."""
        self._send("WATCHDOG=1")

    @staticmethod
    def watchdog_interval() -> float:
        """Return how often to call `alive`, in seconds: half of what sd_watchdog_enabled(3) gives; or infinity."""
        usec = environ.get(b"WATCHDOG_USEC", b"")
        ours = environ.get(b"WATCHDOG_PID", b"%d" % os.getpid()) == b"%d" % os.getpid()
        return int(usec) / 2e6 if ours and usec.isdigit() and int(usec) else float("inf")

    def _send(self, message: str) -> None:
        if self._sock is None:
            return
        try:
            self._sock.sendto(message.encode(errors="surrogateescape"), self._path)
        except OSError as error:  # a service manager that has gone is no reason to stop serving
            if self.log:
                report(self.log, "notify", error)
