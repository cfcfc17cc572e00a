from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading

import pytest

from echod.common.reasons import DRAIN, EOF, ERRNO, IDLE, LIFETIME, RESET
from echod.common.scoreboard import RECEIVED, SENT
from echod.session import pipes
from echod.session.pipes import CAPACITY, SIZE, Pipes
from echod.session.session import Limits
from support.processes import fork as fork_child
from support.processes import isolated, reap, state
from support.wait import wait_for


class Client:
    """Two pipes, and how long a session on them may take."""

    def __init__(self, idle=None, lifetime=None, drain=5.0):
        (low, self.write_end), (self.read_end, high) = os.pipe(), os.pipe()
        self.limits = Limits(idle, lifetime, lambda: drain)
        self.ends = low, high

    def serve(self, counted=None):
        """Serve in this process, on two descriptors in a row that nothing else has, and return the reason."""
        first, second = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in self.ends]
        assert second == first + 1
        for fd in (*self.ends, self.write_end, self.read_end):
            os.close(fd)
        counters = [0] * 5
        client = Pipes(self.limits)
        signal.signal(signal.SIGTERM, client.end)
        reason = client.run(first, counters, 0)
        if counted:
            assert (counters[RECEIVED], counters[SENT]) == counted
        return reason

    def start(self, counted=None):
        """Serve in a child, whose exit status is the reason, and return its pid."""
        pid = fork_child(self.serve, counted)
        for fd in self.ends:
            os.close(fd)
        return pid

    def received(self):
        """Return all that comes back until the end."""
        with open(self.read_end, "rb") as file:
            return file.read()


def sleeping(pid):
    wait_for(lambda: state(pid) == "S", "it to sleep")


def test_everything_comes_back_and_then_the_end():
    client = Client()
    data = os.urandom(10 * SIZE + 7)
    pid = client.start((len(data), len(data)))
    with open(client.write_end, "wb") as file:

        def send():
            file.write(data)
            file.close()

        thread = threading.Thread(target=send)
        thread.start()
        assert client.received() == data
        thread.join()
    assert reap(pid) == EOF


def test_who_does_not_read_is_not_read_from():
    client = Client()
    pid = client.start()
    os.set_blocking(client.write_end, False)
    sent = 0

    def fill():
        nonlocal sent
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += os.write(client.write_end, bytes(4096))
        return state(pid) == "S"

    wait_for(fill, "the pipes to be full")
    assert sent <= 2 * CAPACITY + SIZE
    os.close(client.write_end)
    assert len(client.received()) == sent
    assert reap(pid) == EOF


@pytest.mark.parametrize("stuck", [False, True])
def test_an_idle_client_is_ended(monkeypatch, stuck):
    client = Client(idle=0.2)
    monkeypatch.setattr(pipes, "CAPACITY", 4096)
    if stuck:  # it moves a byte no more, because it does not read
        fcntl.fcntl(client.read_end, fcntl.F_SETPIPE_SZ, 4096)
        os.write(client.write_end, bytes(3 * 4096))
    pid = client.start()
    assert reap(pid) == IDLE
    os.close(client.write_end)
    os.close(client.read_end)


def test_the_lifetime_ends_a_client_that_is_busy():
    client = Client(lifetime=0.3)
    pid = client.start()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def exchange():
        try:
            os.write(client.write_end, b"x")
        except BrokenPipeError:
            return True
        os.read(client.read_end, 1)
        return False

    wait_for(exchange, "the end")
    assert reap(pid) == LIFETIME
    os.close(client.write_end)
    os.close(client.read_end)


def test_a_drain_echoes_what_has_come():
    client = Client()
    pid = client.start((5, 5))
    sleeping(pid)
    os.kill(pid, signal.SIGSTOP)
    os.write(client.write_end, b"hello")
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGCONT)
    assert client.received() == b"hello"
    assert reap(pid) == DRAIN
    os.close(client.write_end)


def test_a_drain_waits_no_longer_than_its_time_out(monkeypatch):
    monkeypatch.setattr(pipes, "CAPACITY", 4096)
    client = Client(drain=0.2)
    fcntl.fcntl(client.read_end, fcntl.F_SETPIPE_SZ, 4096)
    os.write(client.write_end, bytes(3 * 4096))
    pid = client.start()
    sleeping(pid)
    os.kill(pid, signal.SIGTERM)
    assert reap(pid) == DRAIN
    os.close(client.write_end)
    os.close(client.read_end)


def test_a_reader_that_has_gone_is_a_reset():
    def check():
        client = Client()
        os.write(client.write_end, b"hello")
        assert client.serve() == RESET

    isolated(check)


def test_any_other_error_is_the_reason(monkeypatch):
    def check():
        def read(_fd, _size):
            raise OSError(5, "Input/output error")

        client = Client()
        os.write(client.write_end, b"hello")
        monkeypatch.setattr(os, "read", read)
        assert client.serve() == ERRNO + 5

    isolated(check)
