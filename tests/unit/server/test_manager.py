from __future__ import annotations

import os
import resource
import signal
import socket
import time

import pytest

from echod.common.config.settings import load
from echod.common.launch import Launch
from echod.common.sockets import bind_all
from echod.common.succession import Succession
from echod.server import manager as module
from echod.server.manager import YEAR_S, Manager, watchdog_interval
from echod.server.process import OomScore
from echod.server.reload import Change
from echod.server.server import Server
from support.processes import isolated
from support.sockets import make_board, memory_log
from support.wait import DEADLINE, wait_for


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path, monkeypatch):
    """Return a service manager's socket, which NOTIFY_SOCKET names."""
    name = str(tmp_path / "notify") if request.param == "path" else f"\0echod-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name)
        sock.settimeout(DEADLINE)
        monkeypatch.setattr(module, "environ", {b"NOTIFY_SOCKET": name.replace("\0", "@").encode()})
        yield sock


@pytest.fixture
def nobody(monkeypatch):
    """See that there is no service manager."""
    monkeypatch.setattr(module, "environ", {})


@pytest.fixture
def new():
    """Return a function that makes a Manager; what that has opened is closed at the end."""
    made: list[Manager] = []

    def new(fd):
        made.append(Manager(fd))
        return made[-1]

    yield new
    for notifier in made:
        if notifier._sock:
            notifier._sock.close()


def test_a_service_manager_gets_a_datagram_for_each_event(manager, new):
    notifier = new(-1)
    notifier.ready("serving on 127.0.0.1:7")
    assert manager.recv(1000) == b"READY=1\nSTATUS=serving on 127.0.0.1:7"
    notifier.reloading()
    words = dict(line.split("=") for line in manager.recv(1000).decode().split("\n"))
    assert words["RELOADING"] == "1"
    assert int(words["MONOTONIC_USEC"]) > 0
    notifier.stopping()
    assert manager.recv(1000) == b"STOPPING=1\nSTATUS=draining"
    notifier.stopping_takes(1.5)
    assert manager.recv(1000) == b"EXTEND_TIMEOUT_USEC=6500000"
    notifier.failed(6, "a bad config")
    assert manager.recv(1000) == b"STATUS=a bad config"


def test_a_reason_that_is_not_utf8_is_told_all_the_same(manager, new):
    read_end, write_end = os.pipe()
    new(write_end).failed(1, os.fsdecode(b"/etc/\xff: no"))
    assert manager.recv(1000) == b"STATUS=/etc/\xff: no"
    assert os.read(read_end, 100) == b"1 /etc/\xff: no"
    os.close(read_end)
    os.close(write_end)


def test_a_service_manager_that_does_not_read_stops_nothing(manager, new):
    notifier = new(-1)
    for _ in range(1000):
        notifier.stopping()
    assert manager.recv(1000) == b"STOPPING=1\nSTATUS=draining"


def test_a_service_manager_that_is_gone_stops_nothing(manager, new):
    notifier = new(-1)
    manager.close()
    notifier.ready("serving")


def test_without_a_descriptor_left_a_service_manager_is_told_all_the_same(manager, new):
    notifier = new(-1)

    def check():
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        notifier.reloading()

    isolated(check)
    assert manager.recv(1000).startswith(b"RELOADING=1")


@pytest.mark.usefixtures("manager")
def test_the_socket_is_closed_by_execve(new):
    notifier = new(-1)
    assert notifier._sock is not None
    assert not os.get_inheritable(notifier._sock.fileno())


@pytest.mark.usefixtures("nobody")
def test_a_notification_descriptor_gets_a_newline_and_is_closed(new):
    read_end, write_end = os.pipe()
    notifier = new(write_end)
    notifier.stopping()
    notifier.ready("serving")
    assert os.read(read_end, 100) == b"\n"
    assert os.read(read_end, 100) == b""
    notifier.ready("serving again")  # after a reload
    os.close(read_end)


@pytest.mark.usefixtures("nobody")
def test_a_failure_is_code_and_reason_on_one_line_without_an_end(new):
    read_end, write_end = os.pipe()
    new(write_end).failed(6, "two\nlines")
    os.close(write_end)
    assert os.read(read_end, 100) == b"6 two lines"
    os.close(read_end)


@pytest.mark.usefixtures("nobody")
def test_a_start_that_was_interrupted_is_noticed(new):
    def check():
        read_end, write_end = os.pipe()
        os.close(read_end)
        notify = new(write_end)
        with pytest.raises(BrokenPipeError):
            notify.ready("serving")
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(write_end)
        notify.ready("again")

    isolated(check)


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, float("inf")),
        ({b"WATCHDOG_USEC": b"3000000"}, 1.5),
        ({b"WATCHDOG_USEC": b"3000000", b"WATCHDOG_PID": b"%d" % os.getpid()}, 1.5),
        ({b"WATCHDOG_USEC": b"3000000", b"WATCHDOG_PID": b"1"}, float("inf")),
        ({b"WATCHDOG_USEC": b"0"}, float("inf")),
        ({b"WATCHDOG_USEC": b"soon"}, float("inf")),
    ],
)
def test_the_watchdog_is_answered_in_half_of_its_time(monkeypatch, environ, seconds):
    monkeypatch.setattr(module, "environ", environ)
    assert watchdog_interval() == seconds


@pytest.mark.usefixtures("nobody")
def test_without_a_service_manager_nothing_happens(new):
    notifier = new(-1)
    for notify_of in (notifier.reloading, notifier.stopping):
        notify_of()
    notifier.ready("serving")
    notifier.tick(time.monotonic(), 7)
    assert notifier.due == float("inf")
    assert vars(notifier)["_sock"] is None
    notifier.failed(1, "why")


def test_what_cannot_be_told_is_logged_once_there_is_a_log(manager, new):
    one = new(-1)
    manager.close()
    one.stopping()
    one.log, lines = memory_log()
    one.stopping()
    assert [line.partition(" why=")[0] for line in lines.texts] == ["error call=sendto"]


class Systemd:
    """A service manager, and the server that it runs, in this process."""

    def __init__(self, path, monkeypatch, drain="5s", watchdog=""):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        name = f"echod-test-{os.getpid()}"
        self.sock.bind(f"\0{name}")
        environ = {b"NOTIFY_SOCKET": f"@{name}".encode(), b"WATCHDOG_USEC": watchdog.encode()}
        monkeypatch.setattr(module, "environ", environ)
        path.write_text(f"[echod]\nlisten = 127.0.0.1:0\ndrain_timeout = {drain}\n")
        launch = Launch(config_file=str(path), base="/")
        config = load(str(path), [], "/", log="stderr")
        log, board = memory_log()[0], make_board(config.max_children)
        first = Change(config, bind_all(list(config.listen), config), log.sink, [])
        self.server = Server(launch, Succession(), first, log, board, manager=Manager(-1), oom=OomScore())
        self.listener = first.listeners[0]
        self.server.manager.ready(f"serving on {self.server.names()}")
        self.messages()

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
def supervised(tmp_path, monkeypatch):
    """Return a function that makes a Systemd."""
    return lambda **settings: Systemd(tmp_path / "echod.conf", monkeypatch, **settings)


def test_without_a_watchdog_an_idle_server_has_no_deadline(supervised):
    def check():
        server = supervised().server
        server.tick()
        assert server.timeout() is None

    isolated(check)


def test_the_watchdog_is_answered_when_it_is_due_and_not_before(supervised):
    def check():
        systemd = supervised(watchdog="40000000")
        server = systemd.server
        server.tick()
        assert systemd.messages() == []
        assert 10000 < server.timeout() <= 20000
        server.manager._watchdog_at = time.monotonic()
        assert server.timeout() == 0
        server.tick()
        assert systemd.messages() == ["WATCHDOG=1"]
        assert 10000 < server.timeout() <= 20000

    isolated(check)


def test_the_number_of_clients_is_told_at_most_once_a_second(supervised):
    def check():
        systemd = supervised()
        server = systemd.server
        one = systemd.client()
        server.tick()
        assert systemd.messages() == [f"STATUS=serving on {server.names()}, clients: 1"]
        assert server.timeout() is None
        two = systemd.client()
        server.tick()
        assert systemd.messages() == []
        assert 0 < server.timeout() <= 1000
        server.manager._status_at = time.monotonic()  # a second later
        server.tick()
        assert systemd.messages() == [f"STATUS=serving on {server.names()}, clients: 2"]
        assert server.timeout() is None
        for conn in (one, two):
            conn.close()
        wait_for(systemd.reaped, "the end of the children")

    isolated(check)


def test_a_reload_says_the_number_again(supervised):
    def check():
        systemd = supervised()
        os.kill(os.getpid(), signal.SIGHUP)
        systemd.server.process_signals()
        wait_for(lambda: systemd.server.reap() or not systemd.server.reader.pid, "the reload")
        reloading, ready = systemd.messages()
        assert reloading.startswith("RELOADING=1")
        assert ready == f"READY=1\nSTATUS=serving on {systemd.server.names()}"
        systemd.server.tick()
        assert systemd.messages() == [f"STATUS=serving on {systemd.server.names()}, clients: 0"]

    isolated(check)


@pytest.mark.parametrize(("drain", "seconds"), [("5s", 10), ("never", YEAR_S)])
def test_a_stop_asks_for_the_time_that_it_takes(supervised, drain, seconds):
    def check():
        systemd = supervised(drain=drain)
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
        server.manager._status_at = 0.0
        server.tick()
        assert systemd.messages() == ["STATUS=draining, clients: 0"]
        server.reload()
        assert systemd.messages()[-1] == "READY=1\nSTATUS=draining"
        server.manager._status_at = 0.0
        server.tick()
        assert systemd.messages() == ["STATUS=draining, clients: 0"]

    isolated(check)
