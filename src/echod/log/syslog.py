"""syslog(3) on a socket of our own: libc's blocks while a stuck syslogd does not read (RFC 3164, TLPI 37.5)."""

from __future__ import annotations

import errno
import time

from echod.common.cmodules import os, socket
from echod.common.config.settings import FACILITIES
from echod.log.sink import SEVERITIES, Sink

DEV_LOG = "/dev/log"
RETRY = 1.0  # seconds between tries to reach a syslog that has gone


class Syslog(Sink):
    """syslog(3) on a socket of our own: libc's blocks the daemon while a stuck syslogd does not read (RFC 3164)."""

    def __init__(self, facility: str) -> None:
        self._facility = FACILITIES.index(facility) << 3
        self._sock: socket.socket | None = None
        self._retry = 0.0
        self._connect()

    def _connect(self) -> bool:
        if time.monotonic() < self._retry:
            return False
        self.close()
        self._retry = time.monotonic() + RETRY
        try:
            self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._sock.connect(DEV_LOG)
        except OSError:  # no syslogd, or no descriptor left
            self.close()
            return False
        self._retry = 0.0
        return True

    def write(self, level: int, text: str) -> bool:
        """Send one datagram."""
        if not self._send(level, text):
            self.lose(1)
            return False
        if self.lost:
            self.report_lost()
        return True

    def _send(self, level: int, text: str) -> bool:
        """Send it; connect again when the syslogd behind the socket is another than before."""
        stamp = time.strftime("%b %e %H:%M:%S")
        line = f"<{self._facility | SEVERITIES[level]}>{stamp} echod[{os.getpid()}]: {text}".encode()
        for _ in range(2):
            try:
                if self._sock or self._connect():
                    assert self._sock  # noqa: S101 - for the type checker
                    self._sock.send(line)
                    return True
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno == errno.ENOBUFS or not self._connect():
                    return False
        return False

    def reopen(self) -> None:
        """Connect again."""
        self._retry = 0.0
        self._connect()

    def close(self) -> None:
        """Close the socket."""
        if self._sock:
            self._sock.close()
            self._sock = None
