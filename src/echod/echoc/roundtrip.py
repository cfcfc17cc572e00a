"""Round trips in the manner of ping(8)."""

from __future__ import annotations

import itertools
import math
import random
import select
import time
from array import array
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from echod.echoc import faults
from echod.echoc.connect import Target, connect
from echod.echoc.diagnose import first_difference
from echod.echoc.faults import ConnectError, Fault, ServerError

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator


def roundtrip(sock: socket.socket, message: bytes, timeout: float) -> float:
    """Send `message`, and return the seconds until all of it was back. Leaves `sock` non-blocking.

    ServerError: other bytes came, or more, or not all within `timeout` seconds, or the connection ended.
    """
    sock.setblocking(False)
    start = time.perf_counter()
    answer = bytearray()
    try:
        _exchange(sock, memoryview(message), answer, start + timeout)
    except TimeoutError:
        raise ServerError(faults.silent(len(answer), len(message), ended=False, timeout=timeout)) from None
    except EOFError:
        raise ServerError(faults.closed_early(len(answer), len(message))) from None
    except OSError as error:
        raise ServerError(faults.broken(len(answer), len(message), ended=False, error=error)) from None
    seconds = time.perf_counter() - start
    _compare(bytes(answer), message)
    return seconds


def _exchange(sock: socket.socket, rest: memoryview, answer: bytearray, deadline: float) -> None:
    """Send `rest` and receive as much, both at once: a large message fits no buffer."""
    size = len(rest)
    poller = select.poll()
    while len(answer) < size:
        with suppress(BlockingIOError):
            rest = rest[sock.send(rest) :] if rest else rest
        poller.register(sock, select.POLLIN | (select.POLLOUT if rest else 0))
        if not poller.poll(max(0.0, deadline - time.perf_counter()) * 1000):
            raise TimeoutError
        try:
            chunk = sock.recv(size - len(answer) + 1)  # one more, to see what should not be there
        except BlockingIOError:
            continue
        if not chunk:
            raise EOFError
        answer += chunk


def _compare(answer: bytes, message: bytes) -> None:
    size = len(message)
    at = first_difference(answer[:size], message)
    if at < size:
        text = f"byte {at}: expected 0x{message[at]:02x}, got 0x{answer[at]:02x}"
        raise ServerError(Fault("changed", text, at, f"{message[at]:02x}", f"{answer[at]:02x}"))
    if len(answer) > size:
        raise ServerError(Fault("extra", f"more than the {size} bytes sent", size))


SIZE = 56
LOST = {"stopped", "closed-early", "reset", "broken", "refused"}


@dataclass(frozen=True)
class Reply:
    """The outcome of one round trip: `seconds`, or the fault that kept it from being one."""

    seq: int
    seconds: float | None
    fault: Fault | None = None

    @property
    def lost(self) -> bool:
        """Whether no answer came, rather than a wrong one."""
        return self.fault is not None and self.fault.kind in LOST


@dataclass
class Summary:
    """Counts, and the round trip times in seconds, of the replies added."""

    sent: int = 0
    lost: int = 0
    wrong: int = 0
    times: array[float] = field(default_factory=lambda: array("d"))

    def add(self, reply: Reply) -> None:
        """Count one reply."""
        self.sent += 1
        if reply.seconds is not None:
            self.times.append(reply.seconds)
        elif reply.lost:
            self.lost += 1
        else:
            self.wrong += 1

    @property
    def mean(self) -> float:
        """The arithmetic mean of the times; ZeroDivisionError: there is none."""
        return math.fsum(self.times) / len(self.times)

    @property
    def mdev(self) -> float:
        """The standard deviation, as ping(8) has it: of the whole population."""
        mean = self.mean
        return math.sqrt(math.fsum((t - mean) ** 2 for t in self.times) / len(self.times))

    def percentiles(self, *percents: float) -> list[float]:
        """For each percentage (0 to 100), the smallest time that so many of all don't exceed: nearest rank."""
        ordered = sorted(self.times)
        return [ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)] for percent in percents]


def ping(
    target: Target, count: int | None = None, interval: float = 1.0, size: int = SIZE, seed: int | None = None
) -> Iterator[Reply]:
    """Yield the outcome of a round trip of `size` bytes (above 0) every `interval` seconds, `count` times or for ever.

    All go over one connection; after a fault, the next makes a new one, so that a late answer is not mistaken for
    its own. An answer is lost after `target.timeout` seconds. The bytes are random, from `seed`, and compared.

    ConnectError: the first connection cannot be made. (Later ones: lost.)
    """
    rng = random.Random(seed)  # noqa: S311  to be repeated, not to be secret
    sock: socket.socket | None = connect(target)
    try:
        for seq in itertools.count(1) if count is None else range(1, count + 1):
            due = time.monotonic() + interval
            try:
                sock = sock or connect(target)
                reply = Reply(seq, roundtrip(sock, rng.randbytes(size), target.timeout))
            except (ServerError, ConnectError) as error:
                if sock:
                    sock.close()
                sock = None
                fault = error.fault if isinstance(error, ServerError) else Fault("refused", str(error))
                reply = Reply(seq, None, fault)
            yield reply
            if seq != count:
                time.sleep(max(0.0, due - time.monotonic()))
    finally:
        if sock:
            sock.close()
