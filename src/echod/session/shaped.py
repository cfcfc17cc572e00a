"""A session for people who test clients and load balancers: `banner`, `delay` and `close_after`.

It is a loop of its own, so that a client of a daemon without these settings pays nothing. It reads without the buffer
for bulk, since speed is not its purpose. All limits and signals are those of `Session`.
"""

from __future__ import annotations

import time
from time import monotonic_ns

from echod.common.calls import read, write
from echod.common.cmodules import os, socket
from echod.common.reasons import EOF, IDLE, LIFETIME
from echod.common.scoreboard import LAST, RECEIVED, SENT
from echod.session.proxy import Proxied
from echod.session.session import LOOK_S, Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.common.config.settings import Config
    from echod.session.session import Counters

READ_BYTES = 16 << 10


class Shaping(Session):
    """What is common to the two below: it greets, waits before each echo and closes after some bytes."""

    __slots__ = ()
    shape: Config

    def _echo(self, fd: int, counters: Counters, at: int) -> int:
        """Read and write until the end; return its reason. Raises OSError."""
        if self.shape.banner:
            write(fd, banner(self.shape.banner, fd))  # it fits: nothing else has been sent
        received = 0
        while not self.shape.close_after or received < self.shape.close_after:
            most = min(READ_BYTES, (self.shape.close_after or received + READ_BYTES) - received)
            try:
                data = read(fd, most)
            except BlockingIOError:
                if self._may_read_on(counters[at + SENT]):
                    continue
                return self._close_lingering(self.ended or IDLE)
            if not data:
                return self._await_acknowledgement(received)
            received += len(data)
            counters[at + RECEIVED] = received
            self._wait_before_echo(self.shape.delay or 0.0)
            if not self._write_rest(data, counters, at):
                return self._close_lingering(self.ended or IDLE)
            counters[at + SENT] = received
            counters[at + LAST] = monotonic_ns()
            if self.ended == LIFETIME:
                return self._close_lingering(LIFETIME)
        return self._close_lingering(EOF)

    def _wait_before_echo(self, seconds: float) -> None:
        """Sleep, unless the session is ended: then the echo comes at once."""
        until = time.monotonic() + seconds
        while not self.ended and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, LOOK_S))


class Shaped(Shaping):
    """Such a session; `shape` are the settings."""

    __slots__ = ("shape",)


class ShapedProxied(Shaping, Proxied):
    """Such a session behind a load balancer: the header comes first."""

    __slots__ = ("shape",)


def banner(text: str, fd: int) -> bytes:
    """Return the line that greets a client: %h is the name of this host, %p the port that the client connected to."""
    conn = socket.socket(fileno=fd)
    try:
        name = conn.getsockname()
    finally:
        conn.detach()
    port = name[1] if isinstance(name, tuple) else 0
    return text.replace("%h", os.uname().nodename).replace("%p", str(port)).encode(errors="surrogateescape") + b"\r\n"
