"""The echo protocol (RFC 862) on one connected socket. This room knows the socket, its limits and a tally, no more.

    reading ──data──▶ writing ──all of it written──▶ reading
       │                 │
       ├─ FIN: all is echoed; the caller's exit closes ─────────────▶ EOF
       └─ a limit or a signal ends it ──▶ hang up: FIN, read and drop ──▶ IDLE, LIFETIME, DRAIN

1. What was read is written, whole, before the next read: memory does not grow with what a client sends, and one that
   does not read is not read from.
2. The socket blocks. SO_RCVTIMEO and SO_SNDTIMEO, inherited from the listener, are the idle limit: EAGAIN is its end.
3. A signal that ends the session makes the socket non-blocking. A read that sleeps is then retried by the interpreter
   (PEP 475), returns what is queued, and EAGAIN when that has been echoed. (`shutdown(SHUT_RD)` would do for this, but
   then no read can tell any more whether the peer's FIN has come, which the hang-up waits for.)
4. A handler runs between bytecodes: a signal that lands after the last of them and before the system call is noticed
   only when the call ends. Whoever sends it repeats it; the interval timer of the lifetime does so, too.
"""

from __future__ import annotations

import select
import time

from echod.common.cmodules import os, signal, socket
from echod.common.reasons import DRAIN, EOF, ERRNO, IDLE, LIFETIME, RESET

read, write, monotonic_ns = os.read, os.write, time.monotonic_ns  # what a child touches for each client

TYPE_CHECKING = False
if TYPE_CHECKING:
    Tally = memoryview[int] | list[int]

# the tally's words: bytes out and in; when a byte last moved, and when it all began: CLOCK_MONOTONIC nanoseconds
SENT, RECEIVED, LAST, BEGUN = range(1, 5)
FIRST_READ, LARGE_READ = 16 << 10, 1 << 20  # a large buffer only once a client has filled the small one
FOREVER = float("inf")
LINGER = 1.0  # seconds to read and drop after our FIN, so that data under way is not answered with RST
QUIET = 0.1  # seconds without data that end a drain while the peer is catching up: longer than most round trips
# of struct tcp_info (tcp(7), linux/tcp.h): segments under way, bytes not sent yet, bytes that the peer has acknowledged
UNACKED, NOTSENT, BYTES_ACKED, INFO_SIZE = slice(24, 28), slice(144, 148), slice(120, 128), 148


class Limits:
    """What bounds a session, in seconds: None is `never`.

    `grace` is how long a session that is told to end may take to echo what has reached it.
    """

    __slots__ = ("grace", "lifetime", "linger")

    def __init__(self, lifetime: float | None, drain: float | None) -> None:
        self.lifetime = lifetime
        self.grace = FOREVER if drain is None else drain * 0.75
        self.linger = min(LINGER, self.grace / 4)


class Session:
    """One client: `run` echoes until the end, `end` brings it about."""

    __slots__ = (
        "_acked",
        "_behind",
        "_deadline",
        "_grace",
        "_lifetime",
        "_linger",
        "ended",
        "fd",
    )

    def __init__(self, limits: Limits) -> None:
        self._grace, self._linger, self._lifetime = limits.grace, limits.linger, limits.lifetime
        self.fd = -1
        self.ended = 0  # the reason, once somebody has ended it
        self._deadline = FOREVER
        self._behind = False  # the peer has not taken all that was echoed
        self._acked = b""  # how many bytes the peer had taken when last asked

    def run(self, fd: int, tally: Tally, at: int) -> int:  # noqa: C901 - a call costs every client page faults
        """Echo on the connected, blocking socket `fd` until the end and return its reason; the caller closes it.

        The bytes are counted in the words of `tally` after `at`: SENT, RECEIVED, LAST, BEGUN.
        """
        self.fd = fd
        received, size = 0, FIRST_READ
        try:
            tally[at + BEGUN] = tally[at + LAST] = monotonic_ns()
            if self.ended or self._lifetime:
                self._begin()
            while True:
                try:
                    data = read(fd, size)
                except BlockingIOError:
                    if self._more_to_come():
                        continue
                    break
                if not data:
                    return EOF
                received += len(data)
                tally[at + RECEIVED] = received
                try:
                    written = write(fd, data)
                except BlockingIOError:
                    written = 0
                if written < len(data) and not self._finish(memoryview(data)[written:], tally, at):
                    break
                tally[at + SENT] = received
                tally[at + LAST] = monotonic_ns()
                if self.ended and (self.ended == LIFETIME or time.monotonic() > self._deadline):
                    break
                if len(data) == FIRST_READ:  # it fills the small buffer: it will fill a large one
                    size = LARGE_READ
            reason = self.ended or IDLE  # now: a signal during the hang-up is not the reason
            self._hang_up()
        except OSError as error:
            return RESET if isinstance(error, ConnectionError) else ERRNO + (error.errno or 0)
        return reason

    def _begin(self) -> None:
        """Set the timer of the lifetime; make up for a signal that came before there was a socket."""
        if self.ended:
            os.set_blocking(self.fd, False)
        if self._lifetime:
            signal.signal(signal.SIGALRM, lambda signum, _frame: self.end(signum))
            signal.setitimer(signal.ITIMER_REAL, self._lifetime, 0.5)

    def end(self, signum: int) -> None:
        """End the session, in a signal handler: SIGALRM when the lifetime is over, SIGTERM and SIGQUIT to drain.

        SIGINT ends the process at once. SIGHUP and SIGUSR1 are the daemon's: sent to the whole group or by name they
        must not cost a client.
        """
        if signum == signal.SIGINT:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        if not self.ended and signum in (signal.SIGTERM, signal.SIGQUIT, signal.SIGALRM):
            self.ended = LIFETIME if signum == signal.SIGALRM else DRAIN
            self._deadline = time.monotonic() + self._grace
            if self.fd >= 0:
                os.set_blocking(self.fd, False)

    def _finish(self, rest: memoryview, tally: Tally, at: int) -> bool:
        """Write the rest of a partial write; False when a limit comes first."""
        while rest:
            tally[at + SENT] = tally[at + RECEIVED] - len(rest)
            tally[at + LAST] = time.monotonic_ns()
            try:
                rest = rest[os.write(self.fd, rest) :]
            except BlockingIOError:
                self._behind = True
                if not (self._ready(select.POLLOUT, self._deadline) if self.ended else self._moves()):
                    return False
        return True

    def _more_to_come(self) -> bool:
        """Tell, when there is nothing to read, whether to read again: the peer may still be at work."""
        if not self.ended:
            return self._moves()
        # A peer that was behind has had its window closed: what it has sent comes as soon as it opens.
        until = min(self._deadline, time.monotonic() + QUIET)
        return self.ended == DRAIN and self._behind and self._ready(select.POLLIN, until)

    def _moves(self) -> bool:
        """Tell, when a time-out ran out, whether the peer has taken bytes meanwhile, though it sent none."""
        conn = socket.socket(fileno=self.fd)
        try:
            info = conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, INFO_SIZE)
        except OSError:
            return False  # it is not TCP: nobody can tell
        finally:
            conn.detach()
        before, self._acked = self._acked, info[BYTES_ACKED]
        return self._acked != before and (before != b"" or any(info[UNACKED] + info[NOTSENT]))

    def _ready(self, event: int, until: float) -> bool:
        """Wait until the socket is ready, at most to the moment `until`."""
        poller = select.poll()
        poller.register(self.fd, event)
        left = until - time.monotonic()
        return left > 0 and bool(poller.poll(None if left == FOREVER else left * 1000))

    def _hang_up(self) -> None:
        """Send our FIN, then read and drop what is still under way: closing on unread data would send RST."""
        os.set_blocking(self.fd, False)
        conn = socket.socket(fileno=self.fd)
        try:
            conn.shutdown(socket.SHUT_WR)
            until = time.monotonic() + self._linger
            while self._ready(select.POLLIN, until) and os.read(self.fd, LARGE_READ):
                pass
        except OSError:
            return  # the peer has reset it meanwhile: why it ended is known already
        finally:
            conn.detach()
