"""Where log lines go: syslog, a file, stderr. `write` never blocks and never raises.

Lines that could not be written are counted, and the count is logged as soon as a line goes through.
"""

from __future__ import annotations

import errno
import select
import time

from echod.common.cmodules import environ, os, socket
from echod.common.config.settings import FACILITIES

SEVERITIES = (3, 4, 6, 7)  # RFC 5424, table 2: error, warning, informational, debug
DEV_LOG = "/dev/log"
PIPE_BUF = 4096  # bytes that a pipe takes whole, or that poll(2) says it has room for (pipe(7))
APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
RETRY = 1.0  # seconds between tries to reach a syslog that is gone

time_ns, write = time.time_ns, os.write


class Sink:
    """What a log writes to: each kind has one of `write` and `write_all`. They are given a level of `log`."""

    lost = 0

    def write(self, level: int, text: str) -> bool:
        """Write one line; False when it was lost, and counted."""
        before = self.lost
        self.write_all(level, [text])
        return self.lost <= before

    def write_all(self, level: int, texts: list[str]) -> None:
        """Write a few lines, at most PIPE_BUF bytes in all."""
        for text in texts:
            self.write(level, text)

    def reopen(self) -> None:
        """Open it again. Raises OSError."""

    def close(self) -> None:
        """Close it."""

    def found(self) -> None:
        """Tell, now that a line has gone through, how many have not."""
        lost, self.lost = self.lost, 0
        self.write(1, f"log lost={lost}")


def open_sink(target: str, facility: str) -> Sink:
    """Open what the setting `log` names. Raises OSError."""
    if target == "syslog":
        return Syslog(facility)
    return Stderr() if target == "stderr" else File(target)


class Clock(Sink):
    """A sink whose lines begin with the local time in ISO 8601, made anew once a second but for the milliseconds."""

    def __init__(self) -> None:
        self._second = -1
        self._text = self._zone = ""

    def _prefix(self) -> str:
        now = time_ns() // 1_000_000
        if now // 1000 != self._second:
            self._second = now // 1000
            moment = time.localtime(self._second)
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", moment)
            self._zone = time.strftime("%z", moment)
        return "%s.%03d%s echod[%d]: " % (self._text, now % 1000, self._zone, os.getpid())


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
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.setblocking(False)
        try:
            sock.connect(DEV_LOG)
        except OSError:
            sock.close()
            self._retry = time.monotonic() + RETRY
            return False
        self._sock = sock
        return True

    def write(self, level: int, text: str) -> bool:
        """Send one datagram."""
        if not self._send(level, text):
            self.lost += 1
            return False
        if self.lost:
            self.found()
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


class File(Clock):
    """A file, appended to: lines go whole into one write(2), so they stay whole whoever else writes."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._gap = ""  # between a line that a full disk has torn and the next one
        self.fd = self._open()

    def _open(self) -> int:
        return os.open(self._path, APPEND, 0o640)

    def write_all(self, level: int, texts: list[str]) -> None:  # noqa: ARG002 - a file has no levels
        """Append a few lines."""
        prefix = self._prefix()
        lines = (self._gap + "".join(["%s%s\n" % (prefix, text) for text in texts])).encode()
        try:
            written = write(self.fd, lines)
        except OSError:
            self.lost += len(texts)
            return
        self.lost += len(texts) - lines.count(b"\n", len(self._gap), written)
        self._gap = "" if lines.endswith(b"\n", 0, written) else "\n"
        if self.lost and written == len(lines):
            self.found()

    def reopen(self) -> None:
        """Open the path again; the old file is closed when the new one is open."""
        old, self.fd = self.fd, self._open()
        os.close(old)

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)


class Stderr(Clock):
    """Descriptor 2: with the `<N>` that journald understands when it is a journal (sd-daemon(3)), else the time."""

    def __init__(self) -> None:
        super().__init__()
        try:
            status = os.fstat(2)
            self._journal = environ.get(b"JOURNAL_STREAM") == b"%d:%d" % (status.st_dev, status.st_ino)
        except OSError:
            self._journal = False

    def write(self, level: int, text: str) -> bool:
        """Write one line, unless that would block: it is shared, so it cannot be made non-blocking."""
        line = f"<{SEVERITIES[level]}>{text}" if self._journal else self._prefix() + text
        poller = select.poll()
        poller.register(2, select.POLLOUT)
        try:
            if not poller.poll(0):
                self.lost += 1
                return False
            os.write(2, line.encode()[: PIPE_BUF - 1] + b"\n")
        except OSError:
            self.lost += 1
            return False
        if self.lost:
            self.found()
        return True
