from __future__ import annotations

import os
import resource
import socket

import pytest

from echod.server import notify
from echod.server.notify import Notify
from support.processes import isolated
from support.sockets import memory_log
from support.wait import DEADLINE


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path, monkeypatch):
    """Return a service manager's socket, which NOTIFY_SOCKET names."""
    name = str(tmp_path / "notify") if request.param == "path" else f"\0echod-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name)
        sock.settimeout(DEADLINE)
        monkeypatch.setattr(notify, "environ", {b"NOTIFY_SOCKET": name.replace("\0", "@").encode()})
        yield sock


@pytest.fixture
def nobody(monkeypatch):
    """See that there is no service manager."""
    monkeypatch.setattr(notify, "environ", {})


@pytest.fixture
def new():
    """Return a function that makes a Notify; what that has opened is closed at the end."""
    made: list[Notify] = []

    def new(fd):
        made.append(Notify(fd))
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
    assert manager.recv(1000) == b"EXTEND_TIMEOUT_USEC=1500000"
    notifier.status("at work")
    assert manager.recv(1000) == b"STATUS=at work"
    notifier.alive()
    assert manager.recv(1000) == b"WATCHDOG=1"
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
    monkeypatch.setattr(notify, "environ", environ)
    assert Notify.watchdog_interval() == seconds


@pytest.mark.usefixtures("nobody")
def test_without_a_service_manager_nothing_happens(new):
    notifier = new(-1)
    assert not notifier.has_manager
    for notify_of in (notifier.reloading, notifier.stopping, notifier.alive):
        notify_of()
    notifier.ready("serving")
    notifier.failed(1, "why")


def test_what_cannot_be_told_is_logged_once_there_is_a_log(manager, new):
    one = new(-1)
    manager.close()
    one.stopping()
    one.log, lines = memory_log()
    one.stopping()
    assert [line.partition("=")[0] for line in lines.texts] == ["notify error"]
