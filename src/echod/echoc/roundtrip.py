"""One message to the server and back, timed and compared; and many, in the manner of ping(8)."""

from __future__ import annotations

import itertools
import math
import select
import time

from echod.echoc import faults
from echod.echoc.connect import Target, connect
from echod.echoc.data import first_difference
from echod.echoc.faults import ConnectError, Fault, ServerError, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

DEFAULT_SIZE_BYTES = 56
LOST = {"stopped", "closed-early", "reset", "broken", "refused"}


def roundtrip(sock: socket.socket, message: bytes, timeout_s: float) -> float:
    """Send `message`, and return the seconds until all of it was back. `sock` becomes non-blocking.

    ServerError: other bytes came, or more; not all came within `timeout_s` seconds; the connection ended.
    """
    sock.setblocking(False)
    start = time.perf_counter()
    answer = bytearray()
    try:
        _exchange(sock, memoryview(message), answer, start + timeout_s)
    except TimeoutError:
        raise ServerError(faults.silent(len(answer), len(message), ended=False, timeout_s=timeout_s)) from None
    except EOFError:
        raise ServerError(faults.closed_early(len(answer), len(message))) from None
    except OSError as error:
        raise ServerError(faults.broken(len(answer), len(message), ended=False, error=error)) from None
    seconds = time.perf_counter() - start
    _compare(bytes(answer), message)
    return seconds


def _exchange(sock: socket.socket, rest: memoryview, answer: bytearray, deadline: float) -> None:
    """Send `rest` and receive as much, both at the same time: no buffer has room for a large message."""
    size = len(rest)
    poller = select.poll()
    while len(answer) < size:
        rest = rest[_send(sock, rest) :] if rest else rest
        poller.register(sock, select.POLLIN | (select.POLLOUT if rest else 0))
        left = deadline - time.perf_counter()
        if left <= 0 or not poller.poll(left * 1000):
            raise TimeoutError
        try:
            chunk = sock.recv(size - len(answer) + 1)  # one more, to see what should not be there
        except BlockingIOError:
            continue
        if not chunk:
            raise EOFError
        answer += chunk


def _send(sock: socket.socket, message: memoryview) -> int:
    try:
        return sock.send(message)
    except BlockingIOError:
        return 0


def _compare(answer: bytes, message: bytes) -> None:
    size = len(message)
    at = first_difference(answer[:size], message)
    if at < size:
        text = f"byte {at}: expected 0x{message[at]:02x}, got 0x{answer[at]:02x}"
        raise ServerError(Fault("changed", text, at, f"{message[at]:02x}", f"{answer[at]:02x}"))
    if len(answer) > size:
        raise ServerError(Fault("extra", f"more than the {size} bytes sent", size))


class Reply(Value):
    """The outcome of one round trip: its `seconds`, or its fault."""

    def __init__(self, seq: int, seconds: float | None, fault: Fault | None = None) -> None:
        self.seq = seq
        self.seconds = seconds
        self.fault = fault

    @property
    def lost(self) -> bool:
        """True if no answer came; False also for a wrong answer."""
        return self.fault is not None and self.fault.kind in LOST


class Summary(Value):
    """Counts, and the round trip times in seconds, of the replies added."""

    def __init__(self) -> None:
        self.sent = 0
        self.lost = 0
        self.wrong = 0
        self.times: list[float] = []

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
        """The arithmetic mean of the times. ZeroDivisionError: there is no time."""
        return math.fsum(self.times) / len(self.times)

    @property
    def mdev(self) -> float:
        """The standard deviation of the whole population, as in ping(8)."""
        mean = self.mean
        return math.sqrt(math.fsum((t - mean) ** 2 for t in self.times) / len(self.times))

    def percentiles(self, *percents: float) -> list[float]:
        """Return, for each percentage (0 to 100), the smallest time that this share of all times does not exceed."""
        ordered = sorted(self.times)
        return [ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)] for percent in percents]


def ping(
    target: Target,
    count: int | None = None,
    interval: float = 1.0,
    size: int = DEFAULT_SIZE_BYTES,
    seed: int | None = None,
) -> Iterator[Reply]:
    """Yield the outcome of a round trip of `size` bytes (above 0) every `interval` seconds, `count` times or endlessly.

    All use one connection. After a fault, the next round trip uses a new one: otherwise it would take a late answer for
    its own. An answer is lost after `target.timeout` seconds. The bytes are random, from `seed`, and compared.

    ConnectError: the first connection failed. (If a later one fails, its round trip is lost.)
    """
    import random  # noqa: PLC0415  it takes milliseconds, and --check does not need it

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
