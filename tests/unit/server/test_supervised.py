from __future__ import annotations

import gc
import os
import signal
import socket
import time

import pytest

from echod.common.config.settings import load
from echod.common.handover import Handover
from echod.common.sockets import bind_all
from echod.log.sinks import Sink
from echod.server import main, notify
from echod.server.notify import Notify
from echod.server.process import OomScore
from echod.server.reload import Change
from echod.server.supervised import YEAR, Supervised
from support.processes import isolated
from support.sockets import make_board, memory_log
from support.wait import DEADLINE, wait_for


class Manager:
    """A service manager, and the server that it runs, in this process."""

    def __init__(self, path, monkeypatch, drain="5s", watchdog=""):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        name = f"echod-test-{os.getpid()}"
        self.sock.bind(f"\0{name}")
        environ = {b"NOTIFY_SOCKET": f"@{name}".encode(), b"WATCHDOG_USEC": watchdog.encode()}
        monkeypatch.setattr(notify, "environ", environ)
        path.write_text(f"[echod]\nlisten = 127.0.0.1:0\ndrain_timeout = {drain}\n")
        handover = Handover()
        handover.config_file, handover.base = str(path), "/"
        config = load(str(path), [], "/", log="stderr")
        log = memory_log()[0]
        first = Change(config, bind_all(list(config.listen), config), log.sink, [])
        self.server = Supervised(handover, first, log, make_board(config.max_children), Notify(-1), OomScore())
        self.listener = first.listeners[0]

    def messages(self):
        """Return the messages since the last call."""
        messages = []
        try:
            while True:
                messages.append(self.sock.recv(4096).decode())
        except BlockingIOError:
            return messages

    def client(self):
        """Return a client that has been accepted."""
        conn = socket.create_connection(self.listener.sock.getsockname(), timeout=DEADLINE)
        wait_for(lambda: self.server.acceptor.accept(self.listener), "the client to be accepted")
        return conn

    def reaped(self):
        """Reap, and tell whether nobody is left."""
        self.server.children.reap()
        return not self.server.children.table


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """Return a function that makes a Manager."""
    return lambda **settings: Manager(tmp_path / "echod.conf", monkeypatch, **settings)


def test_without_a_watchdog_an_idle_server_has_no_deadline(manager):
    def check():
        server = manager().server
        server.tick()
        assert server.timeout() is None

    isolated(check)


def test_the_watchdog_is_answered_when_it_is_due_and_not_before(manager):
    def check():
        systemd = manager(watchdog="40000000")
        server = systemd.server
        server.tick()
        assert systemd.messages() == []
        assert 10000 < server.timeout() <= 20000
        server._watchdog_at = time.monotonic()
        assert server.timeout() == 0
        server.tick()
        assert systemd.messages() == ["WATCHDOG=1"]
        assert 10000 < server.timeout() <= 20000

    isolated(check)


def test_the_number_of_clients_is_told_at_most_once_a_second(manager):
    def check():
        systemd = manager()
        server = systemd.server
        one = systemd.client()
        server.tick()
        assert systemd.messages() == [f"STATUS=serving on {server.names()}, clients: 1"]
        assert server.timeout() is None
        two = systemd.client()
        server.tick()
        assert systemd.messages() == []
        assert 0 < server.timeout() <= 1000
        server._status_at = time.monotonic()  # a second later
        server.tick()
        assert systemd.messages() == [f"STATUS=serving on {server.names()}, clients: 2"]
        assert server.timeout() is None
        for conn in (one, two):
            conn.close()
        wait_for(systemd.reaped, "the end of the children")

    isolated(check)


def test_a_reload_says_the_number_again(manager):
    def check():
        systemd = manager()
        os.kill(os.getpid(), signal.SIGHUP)
        systemd.server.process_signals()
        reloading, ready = systemd.messages()
        assert reloading.startswith("RELOADING=1")
        assert ready == f"READY=1\nSTATUS=serving on {systemd.server.names()}"
        systemd.server.tick()
        assert systemd.messages() == [f"STATUS=serving on {systemd.server.names()}, clients: 0"]

    isolated(check)


@pytest.mark.parametrize(("drain", "seconds"), [("5s", 10), ("never", YEAR)])
def test_a_stop_asks_for_the_time_that_it_takes(manager, drain, seconds):
    def check():
        systemd = manager(drain=drain)
        conn = systemd.client()
        server = systemd.server
        server.tick()
        systemd.messages()
        os.kill(os.getpid(), signal.SIGTERM)
        server.process_signals()
        assert systemd.messages() == ["STOPPING=1\nSTATUS=draining", f"EXTEND_TIMEOUT_USEC={seconds * 10**6:.0f}"]
        conn.close()
        wait_for(systemd.reaped, "the end of the child")
        server.tick()
        server._status_at = 0.0
        server.tick()
        assert systemd.messages() == ["STATUS=draining, clients: 0"]

    isolated(check)


@pytest.mark.parametrize("there", [True, False])
def test_only_with_a_manager(monkeypatch, there):
    """Whoever starts echod by hand pays nothing for what systemd wants to know."""
    made = []
    monkeypatch.setattr(main, "Supervised", lambda *_: made.append("Supervised"))
    monkeypatch.setattr(main, "Server", lambda *_: made.append("Server"))
    monkeypatch.setattr(Sink, "total", Sink.total)  # main sets it
    monkeypatch.setattr(main, "take_sockets", lambda _: [])
    monkeypatch.setattr("echod.server.process.set_name", lambda: None)
    monkeypatch.setattr(gc, "disable", lambda: None)
    monkeypatch.setattr(main, "Board", lambda _: make_board(1))
    handover, notify = Handover(), Notify(-1)
    handover.config_file, handover.overrides, handover.log = "/dev/null", ["max_children=1"], "none"
    notify.has_manager = there
    main.prepare(handover, notify)
    assert made == ["Supervised" if there else "Server"]
