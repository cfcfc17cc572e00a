"""The echo protocol on a pair of pipes, as `ncat -e` and `socat EXEC:…,pipes` pass them to `inetd`.

What a session does by options of its socket has to be done by poll(2) here: pipes have no time limits of their own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import time
from typing import TYPE_CHECKING

from echod.common.reasons import DRAIN, EOF, ERRNO, IDLE, LIFETIME, RESET
from echod.common.scoreboard import BEGUN, LAST, RECEIVED, SENT
from echod.session.session import FLUSH_S, FOREVER

if TYPE_CHECKING:
    from echod.session.session import Counters, Limits

SIZE = 64 << 10  # bytes, what a pipe holds (pipe(7))
CAPACITY = 1 << 20  # ncat waits to write to one end, and reads nothing meanwhile: with less both would wait for good


class Pipes:
    """One client: `run` echoes until the end, `end` brings it about; as Session does."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._ended = 0  # the reason, once there is one
        self._flush_until = FOREVER  # what has been read is echoed until then
        self._moved = self._begun = 0.0  # when a byte did, and the session, in seconds
        self._wake_fd = -1

    def run(self, fd: int, counters: Counters, at: int) -> int:
        """Echo from the pipe `fd` to the next one, `fd` + 1, until the end and return its reason, as Session does."""
        counters[at + BEGUN] = counters[at + LAST] = time.monotonic_ns()
        self._moved = self._begun = time.monotonic()
        for end in (fd, fd + 1):
            os.set_blocking(end, False)
            with contextlib.suppress(OSError):  # not permitted: they stay as they are
                fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, CAPACITY)
        self._wake_fd, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        try:
            while self._wait(fd, select.POLLIN):
                data = os.read(fd, SIZE)
                if not data:
                    return EOF
                counters[at + RECEIVED] += len(data)
                while data and self._wait(fd + 1, select.POLLOUT):
                    count = os.write(fd + 1, data)
                    data = data[count:]
                    counters[at + SENT] += count
                    counters[at + LAST] = time.monotonic_ns()
                    self._moved = time.monotonic()
                if data:
                    break
        except OSError as error:
            return RESET if isinstance(error, ConnectionError) else ERRNO + (error.errno or 0)
        return self._ended

    def end(self, _signum: int, _frame: object = None) -> None:
        """End the session, as a signal handler of SIGTERM: what has reached it is echoed first."""
        if not self._ended:
            self._ended = DRAIN
            drain = self._limits.drain_timeout()
            self._flush_until = FOREVER if drain is None else time.monotonic() + drain

    def _wait(self, fd: int, event: int) -> bool:
        """Wait until a pipe is ready; False when a limit comes first, or a drain finds nothing to read."""
        poller = select.poll()
        poller.register(fd, event)
        poller.register(self._wake_fd, select.POLLIN)
        while True:
            now = time.monotonic()
            self._look_at_limits(now)
            if self._ended and (event == select.POLLIN or now >= self._flush_until):
                return self._ended == DRAIN and now < self._flush_until and any(f == fd for f, _ in poller.poll(0))
            ready = [found for found, _ in poller.poll(min(self._until() - now, 1e6) * 1000)]
            if fd in ready:
                return True
            if ready:
                os.read(self._wake_fd, SIZE)

    def _until(self) -> float:
        """Return the moment of the next limit."""
        if self._ended:
            return self._flush_until
        idle, lifetime = self._limits.idle, self._limits.lifetime
        return min(self._moved + (idle or FOREVER), self._begun + (lifetime or FOREVER))

    def _look_at_limits(self, now: float) -> None:
        """End the session when a limit is over; one that is full of what was read gets a moment for that."""
        if not self._ended and now >= self._until():
            self._ended = LIFETIME if now >= self._begun + (self._limits.lifetime or FOREVER) else IDLE
            self._flush_until = now + FLUSH_S if self._ended == LIFETIME else now
