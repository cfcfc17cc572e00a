"""Transfers whose bytes are compared; and what the kernel says of a connection meanwhile."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import threading
import time

from support.wait import DEADLINE, wait_for

RETRANSMITS, PROBES, BACKOFF, INFO_SIZE = 2, 3, 4, 5  # bytes of struct tcp_info (linux/tcp.h)
RESET = struct.pack("ii", 1, 0)  # for SO_LINGER: close(2) sends RST
BLOCK = random.Random(862).randbytes(65_521)  # a prime length: no power of two of it looks like another one


def tcp_info(conn):
    """Return the first bytes of a connection's struct tcp_info."""
    return conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, INFO_SIZE)


def reset(conn):
    """Close a connection with RST."""
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    conn.close()


class Stream:
    """A thread that sends without end through a connection, and compares each byte that comes back."""

    def __init__(self, conn, *, most=float("inf")):
        """Send at most `most` bytes; with a limit the stream ends by itself, with a half-close."""
        self.conn, self.most = conn, most
        self.sent = self.received = 0
        self.wrong = ""
        self._last = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        self.conn.setblocking(False)
        sending = True
        try:
            while True:
                if sending and (self._last.is_set() or self.sent >= self.most):
                    self.conn.shutdown(socket.SHUT_WR)
                    sending = False
                readable, writable, _ = select.select([self.conn], [self.conn] if sending else [], [], 0.1)
                if writable:
                    at = self.sent % len(BLOCK)
                    with contextlib.suppress(BlockingIOError):
                        self.sent += self.conn.send(BLOCK[at : at + int(min(65536, self.most - self.sent))])
                if readable and not self._check(self.conn.recv(65536)):
                    return
        except OSError as error:
            self.wrong = f"{error} after {self.received} of {self.sent} bytes"

    def _check(self, data):
        at = self.received % len(BLOCK)
        if data != (BLOCK[at:] + BLOCK + BLOCK)[: len(data)]:
            self.wrong = f"other bytes after {self.received}"
        elif not data and self.received != self.sent:
            self.wrong = f"closed after {self.received} of {self.sent} bytes"
        self.received += len(data)
        return data and not self.wrong

    def goes_on(self, size=100_000):
        """Wait until so many more bytes have come back."""
        wanted = self.received + size
        wait_for(lambda: self.wrong or self.received >= wanted, "more bytes to come back", 3 * DEADLINE)
        assert not self.wrong, self.wrong

    def stands_still(self):
        """Wait until TCP has sent again what was not acknowledged, or has probed a window that was closed just then."""
        wait_for(lambda: any(tcp_info(self.conn)[RETRANSMITS:]), "a retransmission")

    def end(self):
        """Half-close, one without a limit now, and wait until all has come back; return the number of bytes."""
        if self.most == float("inf"):
            self._last.set()
        wait_for(lambda: not self._thread.is_alive(), "the rest to come back", 3 * DEADLINE)
        self._thread.join()
        self.conn.close()
        assert not self.wrong, self.wrong
        return self.sent


def fill(conn):
    """Send without reading until no more is taken; return how many bytes were."""
    conn.setblocking(False)
    sent, end = 0, time.monotonic() + DEADLINE
    while select.select([], [conn], [], 0.5)[1]:
        assert time.monotonic() < end, "the server reads on though nobody takes what it echoes"
        at = sent % len(BLOCK)
        with contextlib.suppress(BlockingIOError):
            sent += conn.send(BLOCK[at:])
    conn.settimeout(DEADLINE)
    return sent


def receive(conn, size):
    """Read so many bytes and compare them."""
    received = 0
    while received < size:
        at = received % len(BLOCK)
        data = conn.recv(min(65536, size - received))
        assert data, f"closed after {received} of {size} bytes"
        assert data == (BLOCK[at:] + BLOCK)[: len(data)], f"other bytes after {received}"
        received += len(data)
