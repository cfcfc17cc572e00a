"""What a log writes to: syslog (TLPI 37.5), a file that is safe to rotate (TLPI 37.4), stderr or nothing.

No sink blocks or raises once it is open.

Lines that could not be written are counted, and the count is logged as soon as a line can be written again.
"""

from __future__ import annotations

import errno
import select
import time

from echod.common.cmodules import environ, os, socket
from echod.common.config.settings import FACILITIES
from echod.common.errors import BAD_CONFIG, EchodError, from_os_error
from echod.common.journal import DEV_LOG, SEVERITIES, is_journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

PIPE_BUF = 4096  # bytes that a pipe takes whole, or that poll(2) says it has room for (pipe(7))
APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
MSG_NOSIGNAL = 0x4000  # send(2): EPIPE, and no SIGPIPE for a process that does not ignore it
OUTPUTS = "/dev/std", "/dev/fd/", "/proc/"  # names of descriptors, which the user of a daemon cannot open
RETRY_S = 1.0  # seconds between tries to reach a syslog that has gone


class Sink:
    """What a log writes to: each kind has one of `write` and `write_all`. They are given a level of `log`."""

    lost = 0  # since that was reported
    never: ClassVar[tuple[tuple[int, int], ...]] = ()  # device and inode of each file that no log may be
    total: ClassVar[memoryview[int] | list[int]] = [0]  # of all sinks: the server has it on the scoreboard

    def lose(self, lines: int) -> None:
        """Count lines that could not be written."""
        self.lost += lines
        self.total[0] += lines

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

    def report_lost(self) -> None:
        """Tell, now that a line has gone through, how many have not."""
        lost, self.lost = self.lost, 0
        if not self.write(1, f"log lost={lost}"):
            self.lost = lost


def read_time_zone() -> None:
    """Read the machine's time zone again: it may be another one now.

    Musl's tzset(3) does nothing while the variable TZ names the same zone, or while there is none. So the process gets
    another zone first.
    """
    os.putenv(b"TZ", b"UTC0")
    time.tzset()
    if b"TZ" in environ:
        os.putenv(b"TZ", environ[b"TZ"])
    else:
        os.unsetenv(b"TZ")
    time.tzset()


class Clock(Sink):
    """A sink whose lines begin with the local time in ISO 8601."""

    @staticmethod
    def _prefix() -> str:
        now = time.time()
        moment = time.localtime(now)
        stamp, zone = time.strftime("%Y-%m-%dT%H:%M:%S", moment), time.strftime("%z", moment)
        return f"{stamp}.{int(now % 1 * 1000):03d}{zone} echod[{os.getpid()}]: "


class NoLog(Sink):
    """Takes every line, and writes none."""

    def write(self, _level: int, _text: str) -> bool:
        """Do nothing."""
        return True

    def write_all(self, _level: int, _texts: list[str]) -> None:
        """Do nothing."""


class Stderr(Clock):
    """Descriptor 2: with the `<N>` that journald understands when it is a journal (sd-daemon(3)), else the time."""

    def __init__(self) -> None:
        self._journal = is_journal()

    def write(self, level: int, text: str) -> bool:
        """Write one line, unless that would block: it is shared, so it cannot be made non-blocking."""
        line = f"<{SEVERITIES[level]}>{text}" if self._journal else self._prefix() + text
        poller = select.poll()
        poller.register(2, select.POLLOUT)
        try:
            if not poller.poll(0):
                self.lose(1)
                return False
            os.write(2, line.encode()[: PIPE_BUF - 1] + b"\n")
        except OSError:
            self.lose(1)
            return False
        if self.lost:
            self.report_lost()
        return True


class File(Clock):
    """A file, appended to: lines go whole into one write(2), so they stay whole whoever else writes."""

    def __init__(self, path: str) -> None:
        """Open the file, as the user that this process is. Raises OSError."""
        self._path = path
        self._gap = ""  # between a line that a full disk has torn and the next one
        self.fd = self._open()

    def _open(self) -> int:
        """Open the path, unless it is the pid file or the scoreboard, however it is spelt. Raises OSError.

        It is looked at first: closing any descriptor of the pid file would drop the lock.
        """
        try:
            found = os.stat(self._path)
        except OSError:
            found = None
        if found and (found.st_dev, found.st_ino) in self.never:
            raise OSError(errno.EINVAL, "is the pid file or the scoreboard; use another file", self._path)
        return os.open(self._path, APPEND, 0o640)

    def write_all(self, level: int, texts: list[str]) -> None:  # noqa: ARG002 - a file has no levels
        """Append a few lines."""
        try:
            prefix = self._prefix()
            lines = (self._gap + "".join([f"{prefix}{text}\n" for text in texts])).encode()
            written = os.write(self.fd, lines)
        except (OSError, MemoryError):
            self.lose(len(texts))
            return
        if written < len(lines):
            self.lose(len(texts) - lines.count(b"\n", len(self._gap), written))
        self._gap = "" if lines.endswith(b"\n", 0, written) else "\n"
        if self.lost and written == len(lines):
            self.report_lost()

    def reopen(self) -> None:
        """Open the path again; the old file is closed when the new one is open."""
        old, self.fd = self.fd, self._open()
        try:
            os.close(old)
        except OSError:
            self.lose(1)  # a network file system tells only now that it had no room (close(2))

    def close(self) -> None:
        """Close the file. Raises OSError."""
        os.close(self.fd)


class Syslog(Sink):
    """syslog(3) on a socket of our own: libc's blocks the daemon while a stuck syslogd does not read (RFC 3164)."""

    def __init__(self, facility: str) -> None:
        self._facility = FACILITIES.index(facility) << 3
        self._sock: socket.socket | None = None
        self._rest = b""  # of a line of which a stream took only the beginning
        self._end = b""  # what ends a line: a stream has no other limits
        self._retry = 0.0
        self._connect()

    def _connect(self) -> bool:
        if time.monotonic() < self._retry:
            return False
        self.close()
        self._retry = time.monotonic() + RETRY_S
        for kind, end in ((socket.SOCK_DGRAM, b""), (socket.SOCK_STREAM, b"\0")):  # as syslog(3) ends a line
            try:
                self._sock = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)
                self._sock.connect(DEV_LOG)
            except OSError as error:  # no syslogd, or no descriptor left
                self.close()
                if error.errno != errno.EPROTOTYPE:  # the socket there is of another kind
                    return False
            else:
                self._rest, self._end, self._retry = b"", end, 0.0
                return True
        return False

    def write(self, level: int, text: str) -> bool:
        """Send one line."""
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
                    while self._rest:
                        self._rest = self._rest[self._sock.send(self._rest, MSG_NOSIGNAL) :]
                    whole = line + self._end
                    self._rest = whole[self._sock.send(whole, MSG_NOSIGNAL) :]
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


def open_log(target: str, facility: str) -> Sink:
    """Open what the setting `log` names. Raises EchodError."""
    if target == "syslog":
        return Syslog(facility)
    if target == "none":
        return NoLog()
    if target == "stderr":
        return Stderr()
    try:
        return File(target)
    except OSError as error:
        failed = from_os_error("cannot open the log", error)
        if error.errno == errno.EINVAL:
            raise EchodError(str(failed), BAD_CONFIG) from None
        if error.errno not in (errno.EACCES, errno.ENOENT):
            raise failed from None
        if target.startswith(OUTPUTS):
            raise EchodError(f"{failed}; use log = stderr, with `echod run`", failed.code) from None
        user = os.geteuid()
        raise EchodError(f"{failed} for user {user}; {log_remedy(target, user, str(failed))}", failed.code) from None


def log_remedy(path: str, user: object, why: str) -> str:
    """Return what to do if a user cannot open a log: make a directory that does not exist yet, for the log alone.

    To change the owner or the mode of a directory that exists, such as /var/log, would harm its other users.
    """
    directory, _, name = path.rpartition("/")
    if why.endswith(os.strerror(errno.ENOENT)):
        return f"`install -d -o {user} {directory}` makes the directory"
    directory = "/var/log/echod"
    if is_there(directory):
        directory = f"/var/log/echod-{user}"
    return f"`install -d -o {user} {directory}` makes a directory for it, then set log = {directory}/{name}"


def is_there(path: str) -> bool:
    """Return True if a file exists, or if a directory above it keeps this user from knowing."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True
