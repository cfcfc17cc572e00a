"""`banner`, `delay` and `close_after`, alone and behind a load balancer."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from echod.common.reasons import DRAIN, EOF
from echod.common.scoreboard import RECEIVED, SENT
from echod.session import shaped as module
from echod.session.kinds import make_session
from echod.session.session import Session
from support.processes import reap
from support.sockets import make_board, receive, receive_all, settings, signal_pipe, tcp_pair
from support.wait import DEADLINE, wait_for

HEADER = b"PROXY TCP4 192.0.2.7 192.0.2.1 51514 7\r\n"


class Talk:
    """A session in a process; `conn` is the client's end."""

    def __init__(self, *overrides):
        self.conn, served = tcp_pair()
        self.conn.settimeout(DEADLINE)
        self.port = self.conn.getpeername()[1]
        board = make_board(4)
        config = settings("idle_timeout=never", *overrides)
        self.counters, self.slot = board.words, board.take()
        self.pid = os.fork()
        if not self.pid:
            code = 1
            try:
                self.conn.close()
                session = make_session(config, board)
                signal_pipe().session = session
                code = session.run(served.fileno(), board.words, self.slot)
            finally:
                os._exit(code)
        served.close()

    def end(self):
        """Return the reason."""
        self.conn.close()
        return reap(self.pid)

    def counted(self):
        """Return the bytes in and out."""
        return self.counters[self.slot + RECEIVED], self.counters[self.slot + SENT]


@pytest.mark.parametrize("header", [b"", HEADER], ids=["plain", "behind a balancer"])
def test_the_banner_comes_first_and_is_not_counted(header):
    talk = Talk("banner=echo on %h, port %p", *["proxy_from=127.0.0.1"] * bool(header))
    talk.conn.sendall(header)
    expected = f"echo on {os.uname().nodename}, port {talk.port}\r\n".encode()
    assert receive(talk.conn, len(expected)) == expected
    talk.conn.sendall(bytes(100_000))
    talk.conn.shutdown(socket.SHUT_WR)
    assert receive_all(talk.conn) == bytes(100_000)
    assert talk.end() == EOF
    assert talk.counted() == (100_000, 100_000)


def test_after_so_many_bytes_it_closes_in_order():
    talk = Talk("close_after=10")
    talk.conn.sendall(b"0123456789 and more")
    assert receive_all(talk.conn) == b"0123456789"
    assert talk.end() == EOF
    assert talk.counted() == (10, 10)


def test_it_waits_before_each_echo(monkeypatch):
    waited: list[float] = []
    monkeypatch.setattr(module.Shaping, "_wait_before_echo", lambda _, seconds: waited.append(seconds))
    served, conn = socket.socketpair()
    conn.sendall(b"x")
    conn.shutdown(socket.SHUT_WR)
    with served, conn:
        assert make_session(settings("delay=1h"), make_board(4)).run(served.fileno(), [0] * 6, 0) == EOF
        assert conn.recv(2) == b"x"
    assert waited == [3600.0]


def test_a_drain_does_not_wait_for_the_delay():
    talk = Talk("delay=1h", "drain_timeout=10s")
    talk.conn.sendall(b"x")
    wait_for(lambda: talk.counted()[0] == 1, "the byte to be read")
    os.kill(talk.pid, signal.SIGTERM)
    assert receive_all(talk.conn) == b"x"
    assert talk.end() == DRAIN


def test_without_them_the_session_is_the_plain_one():
    assert type(make_session(settings(), make_board(4))) is Session
