from __future__ import annotations

import os
import re
import signal
import struct

import pytest

from echod.common.reasons import DRAIN, EOF, RESET
from echod.session.session import Session
from echod.session.trace import Traced
from support.processes import descriptors, fork, reap, state
from support.sockets import NEVER, receive_all, settings, signal_pipe, tcp_pair
from support.wait import wait_for


class Child:
    """A traced session in a process of its own, which logs to a file; `conn` is the client's end."""

    def __init__(self, path):
        self.path = path / "log"
        self.conn, served = tcp_pair()
        self.fd = served.fileno()

        def run():
            self.conn.close()
            config = settings(f"log={self.path}", "log_level=debug")
            pipe = signal_pipe()
            pipe.session = Traced(Session(NEVER), NEVER, config)
            pipe.session.fd = self.fd
            os._exit(pipe.session.run(self.fd, [0] * 5, 0))

        self.pid = fork(run)
        served.close()

    def steps(self):
        """Return what was logged without the time; all of it by the child."""
        lines = self.path.read_text().splitlines()
        assert all(f" echod[{self.pid}]: " in line for line in lines), lines
        return [line.split("]: ", 1)[1] for line in lines]


@pytest.fixture
def child(tmp_path):
    one = Child(tmp_path)
    yield one
    one.conn.close()


def test_its_steps_are_logged_in_order(child):
    for data in (b"hello", b"and more"):
        child.conn.sendall(data)
        assert child.conn.recv(100) == data
    assert child.steps()[1:] == [
        f"read fd={child.fd} bytes=5, the first",
        f"write fd={child.fd} bytes=5, the first",
    ], "at once, and no more of them"
    child.conn.close()
    assert reap(child.pid) == EOF
    steps = child.steps()
    assert re.fullmatch(rf"child fd={child.fd}\b.*", steps[0])
    assert steps[3:] == [
        f"read fd={child.fd} bytes=0, which is the client's FIN",
        f"exit status=0 reason=eof fd={child.fd}, which the kernel closes",
    ]


def test_a_client_that_sends_nothing(child):
    child.conn.close()
    assert reap(child.pid) == EOF
    assert [step.split()[0] for step in child.steps()] == ["child", "read", "exit"]


def test_a_reset(child):
    child.conn.setsockopt(1, 13, struct.pack("ii", 1, 0))
    child.conn.close()
    assert reap(child.pid) == RESET
    assert child.steps()[-1] == f"exit status={RESET} reason=reset fd={child.fd}, which the kernel closes"


def test_a_drain(child):
    wait_for(lambda: child.path.exists() and state(child.pid) == "S", "the session to read")
    os.kill(child.pid, signal.SIGTERM)
    assert receive_all(child.conn) == b""
    child.conn.close()
    assert reap(child.pid) == DRAIN
    assert [step.split()[0] for step in child.steps()] == ["child", "signal", "shutdown", "exit"]
    assert child.steps()[1] == "signal name=SIGTERM"


def test_no_descriptor_more_is_open_between_two_lines(child):
    child.conn.sendall(b"x")
    assert child.conn.recv(1) == b"x"
    wait_for(lambda: state(child.pid) == "S", "the session to read")
    assert str(child.path) not in descriptors(child.pid).values()


def test_without_a_log_it_serves(tmp_path):
    one = Child(tmp_path / "missing")
    one.conn.sendall(b"x")
    assert one.conn.recv(1) == b"x"
    one.conn.close()
    assert reap(one.pid) == EOF
