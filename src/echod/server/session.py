"""The echo protocol (RFC 862, UNP 5.3) on one connected socket: the socket, its limits and its counters, no more.

    READING ──data──▶ WRITING ──all of it written──▶ READING
       │                 │
       ├─ FIN: all is echoed; the caller's exit closes ──────────────────▶ EOF
       └─ a limit or a signal: a lingering close: FIN, read and drop ────▶ IDLE, LIFETIME, DRAIN

1. What was read is written, whole, before the next read: who does not read is not read from.
2. The socket blocks, for a little more than half the idle time-out: SO_RCVTIMEO and SO_SNDTIMEO, inherited from the
   listener. At each of these moments the session looks whether a byte has moved: EAGAIN is no end by itself.
3. A signal that ends the session makes the socket non-blocking. A read that sleeps is then retried by the interpreter
   (PEP 475), returns what is queued, and EAGAIN when that has been echoed. (After `shutdown(SHUT_RD)` no read can tell
   whether the peer's FIN has come, which the lingering close waits for.)
4. A handler runs between bytecodes: a signal that lands after the last of them and before the system call is noticed
   only when the call ends. Who sends it repeats it, the timer of the lifetime, too.
"""

from __future__ import annotations

import select
import time

from echod.common.cmodules import os, signal, socket
from echod.common.reasons import DRAIN, EOF, ERRNO, IDLE, LIFETIME, RESET
from echod.server.buffer import FIRST, SIZE, SMALL, VIEWS, await_more

read, readv, write, monotonic_ns = os.read, os.readv, os.write, time.monotonic_ns  # not looked up in `os`: a page less

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Counters = memoryview[int] | list[int]

# the words of the counters: bytes out and in; when a byte last moved, and when it began: CLOCK_MONOTONIC nanoseconds
SENT, RECEIVED, LAST, BEGUN = range(1, 5)
FOREVER, FLUSH, LINGER = float("inf"), 1.0, 0.9  # seconds to echo what was read at the end; to drop after our FIN
QUIET, TICK = 0.5, 0.5  # seconds without data that end a drain, more than a round trip; between looks at the limits
BYTES_ACKED, INFO_SIZE = slice(120, 128), 128  # of struct tcp_info (tcp(7), linux/tcp.h): what the peer has taken


class Limits:
    """What bounds a session, in seconds or None; drain_timeout is asked for when it counts."""

    __slots__ = ("drain_timeout", "idle", "lifetime")

    def __init__(self, idle: float | None, lifetime: float | None, drain: Callable[[], float | None]) -> None:
        self.idle, self.lifetime, self.drain_timeout = idle, lifetime, drain


class Session:
    """One client: `run` echoes until the end, `end` brings it about."""

    __slots__ = ("_behind", "_deadline", "_lifetime", "_limits", "_linger", "_moved", "_seen", "ended", "fd")

    def __init__(self, limits: Limits) -> None:
        self._limits, self._lifetime = limits, limits.lifetime
        self.fd = -1
        self.ended = 0  # the reason, once somebody has ended it
        self._deadline, self._linger = FOREVER, LINGER
        self._behind = False  # once the peer did not take at once what was echoed
        self._seen: tuple[object, ...] = ()  # what had moved when last looked
        self._moved = 0.0  # when something new was seen, in seconds

    def run(self, fd: int, counters: Counters, at: int) -> int:  # noqa: C901 - a call is memory that each client copies
        """Echo on the connected socket `fd` until the end and return its reason; count in `counters` after `at`."""
        self.fd = fd
        received = large = small = 0  # large: 1 once a read has filled FIRST; small: see await_more, 0 without bulk
        try:
            counters[at + BEGUN] = counters[at + LAST] = monotonic_ns()
            if self.ended or self._lifetime:
                self._begin()
            while True:
                try:
                    data = VIEWS[0][: readv(fd, VIEWS)] if large else read(fd, FIRST)
                except BlockingIOError:
                    if self._may_read_on(counters[at + SENT]):
                        continue
                    break
                count = len(data)
                if not count:
                    return EOF
                received += count
                counters[at + RECEIVED] = received
                try:
                    written = write(fd, data)
                except BlockingIOError:
                    written = 0
                if written < count and not self._write_rest(data[written:], counters, at):
                    break
                counters[at + SENT] = received
                counters[at + LAST] = monotonic_ns()
                if self.ended and (self.ended == LIFETIME or time.monotonic() > self._deadline):
                    break
                if (small or count >= FIRST) and not self.ended:
                    large, small = 1, await_more(fd, count, small) if small or count >= SMALL else 0
            reason = self.ended or IDLE  # now: a signal during the lingering close is not the reason
            self._close_lingering()
        except OSError as error:
            return RESET if isinstance(error, ConnectionError) else ERRNO + (error.errno or 0)
        return reason

    def _begin(self) -> None:
        """Set the lifetime's timer; make up for a signal that came before there was a socket."""
        if self.ended:
            os.set_blocking(self.fd, False)
        if self._lifetime:
            signal.signal(signal.SIGALRM, self.end)
            signal.setitimer(signal.ITIMER_REAL, self._lifetime, 0.5)

    def end(self, signum: int, _frame: object = None) -> None:
        """End the session, as a signal handler: SIGALRM when the lifetime is over, SIGTERM and SIGQUIT to drain.

        SIGINT ends the process at once. Sent to the whole group, the daemon's other signals must not cost a client.
        """
        if signum == signal.SIGINT:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        if signum == signal.SIGALRM and self.ended != LIFETIME:  # also while it drains
            self.ended = LIFETIME
            self._deadline = min(self._deadline, time.monotonic() + FLUSH)
        elif signum in (signal.SIGTERM, signal.SIGQUIT) and not self.ended:
            self.ended = DRAIN
            drain = self._limits.drain_timeout()
            if drain is not None:
                self._deadline = time.monotonic() + drain * 0.75
                self._linger = min(LINGER, drain * 0.15)  # in all less than the daemon waits
        else:
            return
        if self.fd >= 0:
            os.set_blocking(self.fd, False)

    def _write_rest(self, rest: bytes | memoryview, counters: Counters, at: int) -> bool:
        """Write the rest of a partial write; False when a limit comes first."""
        self._behind = True  # also where it goes through now: what had slept was cut short by the signal
        while rest:
            counters[at + SENT] = sent = counters[at + RECEIVED] - len(rest)
            counters[at + LAST] = time.monotonic_ns()
            if not self.ended and not self._is_active(sent):
                return False
            try:
                rest = rest[os.write(self.fd, rest) :]
            except BlockingIOError:
                if self.ended and not self._wait(select.POLLOUT, self._deadline, sent):
                    return False
        return True

    def _may_read_on(self, sent: int) -> bool:
        """Tell, when there is nothing to read, whether to read again."""
        if not self.ended:
            return self._is_active(sent)
        # A peer that was behind has had its window closed: what it has sent comes as soon as it opens.
        return self.ended == DRAIN and self._behind and self._wait(select.POLLIN, time.monotonic() + QUIET, sent)

    def _is_active(self, sent: int) -> bool:
        """Tell, when the socket's time-out has run out, whether a byte has moved within idle_timeout."""
        idle, now = self._limits.idle, time.monotonic()
        seen = (sent, self._acknowledged())
        if seen != self._seen:
            self._seen, self._moved = seen, now
        return idle is None or now - self._moved < idle

    def _acknowledged(self) -> bytes:
        """Return how many bytes the peer has taken, as TCP_INFO has it; nothing where the socket is not TCP."""
        conn = socket.socket(fileno=self.fd)
        try:
            info: bytes = conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, INFO_SIZE)
        except OSError:
            return b""
        finally:
            conn.detach()
        return info[BYTES_ACKED]

    def _wait(self, event: int, until: float, sent: int) -> bool:
        """Wait, in a drain, until the socket is ready: to the moment `until`, or the end of a limit."""
        poller = select.poll()
        poller.register(self.fd, event)
        while (left := min(until, self._deadline) - time.monotonic()) > 0:
            if poller.poll(min(left, TICK) * 1000):
                return True
            if not self._is_active(sent):
                self.ended = IDLE
                return False
        return False

    def _close_lingering(self) -> None:
        """Send our FIN (TLPI 61.2), read and drop what is still under way: closing on unread data would send RST."""
        os.set_blocking(self.fd, False)
        conn = socket.socket(fileno=self.fd)
        try:
            conn.shutdown(socket.SHUT_WR)
            poller = select.poll()
            poller.register(self.fd, select.POLLIN)
            until = time.monotonic() + self._linger
            while (left := until - time.monotonic()) > 0 and poller.poll(left * 1000) and os.read(self.fd, SIZE):
                pass
        except OSError:
            return  # the peer has reset it meanwhile: why it ended is known already
        finally:
            conn.detach()
