"""The echo protocol (RFC 862, UNP 5.3) on one connected socket, its limits and its counters.

    READING ──data──▶ WRITING ──all of it written──▶ READING
       │                 │
       ├─ FIN: all is echoed; wait until the peer has acknowledged it ───▶ EOF
       └─ a limit or a signal: lingering close, FIN, read and drop ──────▶ IDLE, LIFETIME, DRAIN

1. Each read is written back, whole, before the next read. A client that does not read is therefore not read from.
2. The socket blocks, for a little more than half the idle time-out (SO_RCVTIMEO and SO_SNDTIMEO, which it inherits from
   the listener). When a call times out (EAGAIN), the session looks whether a byte has moved. It ends when none has
   moved for `idle_timeout`, which is noticed after one to two times that setting.
3. `end` is the handler of SIGTERM, SIGQUIT and SIGALRM in a child. It makes the socket non-blocking. The interpreter
   then retries the read that sleeps (PEP 475), which returns what is queued, and EAGAIN after that. (After
   shutdown(SHUT_RD) a read could not tell whether the peer's FIN has come, which the lingering close waits for.)
4. A handler runs between bytecodes. A signal that arrives after the last of them and before the system call is noticed
   only when that call returns. Therefore the daemon repeats SIGTERM in a drain, and the lifetime's timer repeats, too.
5. The kernel keeps an echo that the peer has not acknowledged for minutes after the child has exited. The session
   therefore stays until all is acknowledged. If a limit ends it before, it closes with RST, which drops the echo:
   otherwise max_children would not bound what the kernel keeps for clients. A drain lets the kernel deliver the rest.

The session knows sockets and nothing of processes: a server forks a child for it, and `echod inetd` runs it as it is.
"""

from __future__ import annotations

import select
import sys
import time
from time import monotonic_ns

from echod.common.calls import read, readv, write
from echod.common.cmodules import os, signal, socket
from echod.common.reasons import DRAIN, EOF, ERRNO, IDLE, LIFETIME, RESET
from echod.common.scoreboard import BEGUN, LAST, RECEIVED, SENT
from echod.session.bulk import BUFFER_BYTES, BULK_BYTES, FIRST_READ_BYTES, VIEWS, await_more

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Counters = memoryview[int] | list[int]

FOREVER = float("inf")
FLUSH_S = 1.0  # at the end of the lifetime, to echo what was read
LINGER_S = 0.9  # after our FIN, to drop what the peer sends
DRAIN_QUIET_S = 0.5  # more than a round trip: a peer that was behind and sends nothing for so long has sent all
LOOK_S = 0.5  # from one look at the limits to the next, in a drain
BYTES_ACKED = slice(120, 128)  # of struct tcp_info (tcp(7), linux/tcp.h): what the peer has acknowledged
TCP_INFO_BYTES = 128
FIN_IS_ACKNOWLEDGED = 5, 6, 7  # states of a connection, the first byte of tcp_info: FIN_WAIT2, TIME_WAIT, CLOSE
FIRST_LOOK_S = 0.001  # until the first look whether all is acknowledged; each pause is twice as long as the one before
ABORT = (1).to_bytes(4, sys.byteorder) + bytes(4)  # for SO_LINGER (socket(7)): close(2) sends RST and drops all data


class Limits:
    """What bounds a session, in seconds or None; `drain_timeout` is called when a drain begins."""

    __slots__ = ("drain_timeout", "idle", "lifetime")

    def __init__(self, idle: float | None, lifetime: float | None, drain: Callable[[], float | None]) -> None:
        self.idle, self.lifetime, self.drain_timeout = idle, lifetime, drain


class Session:
    """One client: `run` echoes until the end, and `end` is the signal handler that brings it about.

    `ended` is the reason once a signal has ended the session, else 0. Until `fd` is known (-1) a signal is only noted.
    """

    __slots__ = ("_behind", "_deadline", "_lifetime", "_limits", "_linger", "_mark", "_marked_at", "ended", "fd")

    def __init__(self, limits: Limits) -> None:
        self._limits, self._lifetime = limits, limits.lifetime
        self.fd = -1
        self.ended = 0
        self._deadline, self._linger = FOREVER, LINGER_S
        self._behind = False  # the peer once did not take at once what was echoed
        self._mark: tuple[object, ...] = ()  # how far both directions had got at the last look that saw a change
        self._marked_at = 0.0  # when that was, in seconds

    def run(self, fd: int, counters: Counters, at: int) -> int:
        """Echo on the connected socket `fd` until the end and return its reason; count in `counters` after `at`."""
        self.fd = fd
        try:
            counters[at + BEGUN] = counters[at + LAST] = monotonic_ns()
            if self.ended or self._lifetime:
                self._begin()
            return self._echo(fd, counters, at)
        except OSError as error:
            return RESET if isinstance(error, ConnectionError) else ERRNO + (error.errno or 0)

    def _echo(self, fd: int, counters: Counters, at: int) -> int:
        """Read and write until the end; return its reason. Raises OSError."""
        received = 0
        is_bulk = 0  # 1 once a read has filled FIRST_READ_BYTES; then the buffer is used
        small_reads = 0  # of `await_more`: 0 without bulk
        while True:
            try:
                data = VIEWS[0][: readv(fd, VIEWS)] if is_bulk else read(fd, FIRST_READ_BYTES)
            except BlockingIOError:
                if self._may_read_on(counters[at + SENT]):
                    continue
                break
            count = len(data)
            if not count:  # the kernel keeps as much for a small echo as for the FIN alone: it is not waited for
                return self._await_acknowledgement(received) if received > FIRST_READ_BYTES else EOF
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
            if (small_reads or count >= FIRST_READ_BYTES) and not self.ended:
                is_bulk = 1
                small_reads = await_more(fd, count, small_reads) if small_reads or count >= BULK_BYTES else 0
        reason = self.ended or IDLE  # now: a signal during the lingering close is not the reason
        return self._close_lingering(reason)

    def _begin(self) -> None:
        """Set the timer of the lifetime, and make up for a signal that came before the socket was known."""
        if self.ended:
            os.set_blocking(self.fd, False)
        if self._lifetime:
            signal.signal(signal.SIGALRM, self.end)
            signal.setitimer(signal.ITIMER_REAL, self._lifetime, 0.5)

    def end(self, signum: int, _frame: object = None) -> None:
        """End the session, as a signal handler: SIGALRM when the lifetime is over, SIGTERM and SIGQUIT to drain.

        SIGINT ends the process at once. The daemon's other signals may be sent to the whole process group, and must not
        end a client.
        """
        if signum == signal.SIGINT:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        if signum == signal.SIGALRM and self.ended != LIFETIME:  # also in a drain
            self.ended = LIFETIME
            self._deadline = min(self._deadline, time.monotonic() + FLUSH_S)
        elif signum in (signal.SIGTERM, signal.SIGQUIT) and not self.ended:
            self.ended = DRAIN
            drain = self._limits.drain_timeout()
            if drain is not None:
                self._deadline = time.monotonic() + drain * 0.75
                self._linger = min(LINGER_S, drain * 0.15)  # together less than the daemon waits
            for stop in (signal.SIGTERM, signal.SIGQUIT):  # the daemon repeats it: each would wake this process
                signal.signal(stop, signal.SIG_IGN)
        else:
            return
        if self.fd >= 0:
            os.set_blocking(self.fd, False)

    def _write_rest(self, rest: bytes | memoryview, counters: Counters, at: int) -> bool:
        """Write the rest of a partial write; return False if a limit comes first."""
        self._behind = True  # also if the rest is written at once: the signal may have cut short a write that slept
        while rest:
            counters[at + SENT] = sent = counters[at + RECEIVED] - len(rest)
            counters[at + LAST] = monotonic_ns()
            if not self.ended and not self._is_active(sent):
                return False
            try:
                rest = rest[os.write(self.fd, rest) :]
            except BlockingIOError:
                if self.ended and not self._wait(select.POLLOUT, self._deadline, sent):
                    return False
        return True

    def _may_read_on(self, sent: int) -> bool:
        """Return True if the session must read again, now that nothing is queued."""
        if not self.ended:
            return self._is_active(sent)
        # The window of a peer that was behind was closed: what it has sent arrives as soon as the window opens.
        return (
            self.ended == DRAIN and self._behind and self._wait(select.POLLIN, time.monotonic() + DRAIN_QUIET_S, sent)
        )

    def _is_active(self, sent: int) -> bool:
        """Return True if a byte has moved within idle_timeout, now that a call on the socket has timed out."""
        idle, now = self._limits.idle, time.monotonic()
        mark = (sent, self._acknowledged())
        if mark != self._mark:
            self._mark, self._marked_at = mark, now
        return idle is None or now - self._marked_at < idle

    def _acknowledged(self) -> bytes:
        """Return the bytes of TCP_INFO that count what the peer has acknowledged; b"" if the socket is not TCP."""
        return self._tcp_info()[BYTES_ACKED]

    def _is_acknowledged(self) -> bool:
        """Return True if the peer has acknowledged our FIN, and so all before it. A Unix socket needs no wait."""
        info = self._tcp_info()
        return not info or info[0] in FIN_IS_ACKNOWLEDGED

    def _tcp_info(self) -> bytes:
        """Return the struct tcp_info of the connection; b"" if the socket is not TCP."""
        conn = socket.socket(fileno=self.fd)
        try:
            info: bytes = conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
        except OSError:
            return b""
        finally:
            conn.detach()
        return info

    def _await_acknowledgement(self, sent: int) -> int:
        """Send FIN after the echo, wait until the peer has acknowledged both, and return the reason of the end.

        Raises OSError if the peer resets the connection or vanishes.
        """
        conn, pause = socket.socket(fileno=self.fd), FIRST_LOOK_S
        try:
            if self._send_fin(conn):
                while not self._is_acknowledged():
                    if not self._is_active(sent):
                        self.ended = IDLE
                    if self.ended == IDLE or time.monotonic() > self._deadline:
                        return self._drop(conn, self.ended)
                    time.sleep(pause)
                    pause = min(LOOK_S, 2 * pause)
            error = conn.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        finally:
            conn.detach()
        if error:
            raise OSError(error, "the peer has not taken its echo")
        return EOF

    @staticmethod
    def _send_fin(conn: socket.socket) -> bool:
        """Shut down the sending side; return False if the peer has reset the connection."""
        try:
            conn.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        return True

    def _drop(self, conn: socket.socket, reason: int) -> int:
        """Let exit(2) drop what the peer has not acknowledged, unless this is a drain; return the reason."""
        if reason != DRAIN and not self._is_acknowledged():
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        return reason

    def _wait(self, event: int, until: float, sent: int) -> bool:
        """Wait in a drain until the socket is ready; return False at the moment `until` or at the end of a limit."""
        poller = select.poll()
        poller.register(self.fd, event)
        while (left := min(until, self._deadline) - time.monotonic()) > 0:
            if poller.poll(min(left, LOOK_S) * 1000):
                return True
            if not self._is_active(sent):
                self.ended = IDLE
                return False
        return False

    def _close_lingering(self, reason: int) -> int:
        """Send FIN (TLPI 61.2), then read and drop what is on its way: to close with unread data would send RST.

        Return the reason of the end.
        """
        os.set_blocking(self.fd, False)
        conn = socket.socket(fileno=self.fd)
        try:
            if not self._send_fin(conn):
                return reason
            poller = select.poll()
            poller.register(self.fd, select.POLLIN)
            until = time.monotonic() + self._linger
            while (left := until - time.monotonic()) > 0 and poller.poll(left * 1000):
                if not read(self.fd, BUFFER_BYTES):
                    break
            return self._drop(conn, reason)
        except OSError:
            return reason  # the peer has reset the connection
        finally:
            conn.detach()
