"""Clients that come and go, and clients that stay, while a daemon is reloaded or upgraded."""

from __future__ import annotations

import os
import threading

from support.sockets import exchange
from support.wait import DEADLINE, wait_for


class Visitors:
    """Clients that come and go without a pause, for as long as the `with` block lasts. `failures` is to stay empty."""

    def __init__(self, address, count=4):
        self.address, self.served, self.failures = address, 0, []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._visit) for _ in range(count)]

    def _visit(self):
        data = os.urandom(3000)
        while not self._over.is_set():
            try:
                if exchange(self.address, data) != data:
                    self.failures.append("other bytes")
            except OSError as error:
                self.failures.append(repr(error))
            self.served += 1

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        wait_for(lambda: self.served > 10, "visitors")
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join(DEADLINE)


class Regulars:
    """Connections that echo something again and again, and compare it, for as long as the `with` block lasts."""

    def __init__(self, conns):
        self.conns, self.rounds, self.failures = conns, 0, []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self._over.is_set() and not self.failures:
            data = [os.urandom(1000) for _ in self.conns]
            for conn, sent in zip(self.conns, data, strict=True):
                conn.sendall(sent)
            for conn, sent in zip(self.conns, data, strict=True):
                self._compare(conn, sent)
            self.rounds += 1

    def _compare(self, conn, sent):
        received = b""
        try:
            while len(received) < len(sent) and (data := conn.recv(len(sent))):
                received += data
        except OSError as error:
            self.failures.append(repr(error))
        if received != sent:
            self.failures.append(f"{len(received)} of {len(sent)} bytes, or others")

    def go_on(self):
        """Wait until each has echoed something that it sent after this moment."""
        wanted = self.rounds + 2
        wait_for(lambda: self.failures or self.rounds >= wanted, "another round")
        assert not self.failures, self.failures

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(DEADLINE)
        assert not self.failures, self.failures
