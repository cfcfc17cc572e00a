"""A client that remembers what it sent and what came back."""

from __future__ import annotations

import os
import socket

ANSWER_TIMEOUT = 6.0  # seconds for an answer
PIECE = 16 << 10
OPEN, SERVED, LOST, STUCK = "open", "served", "lost", "stuck"


class WrongError(Exception):
    """The daemon did not keep a promise; the message tells which."""


class Client:
    """One connection. `outcome`: SERVED after its last echo and the server's FIN, LOST when it ended before that."""

    def __init__(self, address, source=None, timeout=ANSWER_TIMEOUT, last=None):
        """Connect; `timeout` is for each answer, `last` for the server's FIN, in seconds."""
        self.last = last or timeout
        self.sock = socket.create_connection(address, timeout, (source, 0) if source else None)
        self.name = "{}:{}".format(*self.sock.getsockname())
        self.outcome = OPEN
        self.sent = bytearray()
        self.back = 0

    def send(self, size):
        """Send as many random bytes, without reading."""
        data = os.urandom(size)
        try:
            self.sock.sendall(data)
            self.sent += data
        except OSError:
            self.outcome = LOST
        return self

    def send_header(self, text):
        """Send what is for the server, and does not come back."""
        try:
            self.sock.sendall(text.encode())
        except OSError:
            self.outcome = LOST
        return self

    def receive(self):
        """Receive what has been sent and is not back yet, and compare it."""
        while self.outcome == OPEN and self.back < len(self.sent):
            self._compare(self._read())
        return self

    def echo(self, size):
        """Send so many bytes, and receive them."""
        for at in range(0, size, PIECE):
            self.send(min(PIECE, size - at)).receive()
        return self

    def finish(self, *, half_close=True):
        """Half-close, and read to the end; without `half_close` the server is about to close."""
        try:
            if half_close and self.outcome == OPEN:
                self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.outcome = LOST
        if self.outcome == OPEN:
            self.sock.settimeout(self.last)
        while self.outcome == OPEN:
            if data := self._read(last=True):
                self._compare(data)
        self.sock.close()
        return self

    def _read(self, *, last=False):
        try:
            data = self.sock.recv(1 << 16)
        except TimeoutError:
            self.outcome = STUCK
            return b""
        except OSError:
            self.outcome = LOST
            return b""
        if not data:
            self.outcome = SERVED if last and self.back == len(self.sent) else LOST
        return data

    def _compare(self, data):
        if data != self.sent[self.back : self.back + len(data)]:
            raise WrongError(f"client {self.name}: other bytes than were sent, from offset {self.back} on")
        self.back += len(data)
