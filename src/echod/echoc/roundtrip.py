"""One message to the server and back, timed and compared."""

from __future__ import annotations

import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from echod.echoc import faults
from echod.echoc.diagnose import first_difference
from echod.echoc.errors import Fault, ServerError

if TYPE_CHECKING:
    import socket


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
