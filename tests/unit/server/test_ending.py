from __future__ import annotations

import errno
import os
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from echod.common.sockets import Listener
from echod.server import ending as module
from echod.server.ending import retire
from support.sockets import memory_log, port_of
from support.wait import DEADLINE


class Accepting:
    """What accepts clients while it has room; `served` are their connections. `hopeless`: it never gets one."""

    def __init__(self, room, *, hopeless=False):
        self.left, self.hopeless, self.calls = room, hopeless, 0
        self.log, self.lines = memory_log()
        self.served: list[int] = []

    def capacity(self):
        return self.left

    def accept(self, listener):
        self.calls += 1
        if self.hopeless:
            return 0
        try:
            fd, _ = listener.accept()
        except BlockingIOError:
            return 0
        if self.left > 0:
            self.served.append(fd)
            self.left -= 1
        else:
            os.close(fd)
        return 1

    def close(self):
        for fd in self.served:
            os.close(fd)


def connect(*listeners):
    return [socket.create_connection(("127.0.0.1", port_of(one)), timeout=DEADLINE) for one in listeners]


def is_reset(client):
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.fixture
def two(bound):
    """Return two listeners."""
    return bound("127.0.0.1", 0) + bound("127.0.0.1", 0)


@pytest.mark.parametrize("room", [0, 1, 3, 9])
def test_who_waits_is_served_as_far_as_there_is_room(two, room):
    ports = [port_of(one) for one in two]
    clients = connect(*two, *two)
    acceptor = Accepting(room)
    lines = acceptor.lines
    retire(two, acceptor)
    assert len(acceptor.served) == min(room, len(clients))
    assert lines.texts == []
    assert [one.sock.fileno() for one in two] == [-1, -1]
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
    acceptor.close()
    assert all(is_reset(client) for client in clients)
    for client in clients:
        client.close()


@pytest.mark.parametrize("room", [0, 3, 9])
def test_who_waits_is_served_where_poll_fails(two, room, monkeypatch):
    class Poller:
        def register(self, _fd, _event):
            pass

        def poll(self, _timeout):
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr("echod.server.ending.select.poll", Poller)
    clients = connect(*two, *two)
    acceptor = Accepting(room)
    lines = acceptor.lines
    retire(two, acceptor)
    assert len(acceptor.served) == min(room, len(clients))
    assert lines.texts == (["error call=poll why='Cannot allocate memory'"] if room else [])
    acceptor.close()
    for client in clients:
        client.close()


def test_an_acceptor_that_gets_nobody_ends_it(two):
    clients = connect(*two)
    acceptor = Accepting(5, hopeless=True)
    retire(two, acceptor)
    assert 5 <= acceptor.calls <= 6
    assert all(is_reset(client) for client in clients)
    for client in clients:
        client.close()


def test_who_waits_at_one_that_was_passed_is_left_to_who_passed_it(two):
    (passed, own), acceptor = two, Accepting(9)
    with socket.socket(fileno=os.dup(passed.fd)) as of_the_service_manager:
        passed.address = None
        clients = connect(passed, own)
        retire(two, acceptor)
        assert len(acceptor.served) == 1
        of_the_service_manager.settimeout(DEADLINE)
        of_the_service_manager.accept()[0].close()
    for client in clients:
        client.close()
    acceptor.close()


@pytest.mark.parametrize(("name", "call"), [("unlist", "listen"), ("stop", "shutdown")])
def test_what_fails_on_the_way_is_logged_and_all_are_closed(two, monkeypatch, name, call):
    def fail(_listener):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(Listener, name, fail)
    acceptor = Accepting(9)
    lines = acceptor.lines
    clients = connect(*two)
    retire(two, acceptor)
    assert len(acceptor.served) == 2
    assert lines.texts == [f"error call={call} why='Invalid argument'"]
    assert [one.sock.fileno() for one in two] == [-1, -1]
    for client in clients:
        client.close()
    acceptor.close()


@pytest.mark.parametrize("error", [OSError(12, "Cannot allocate memory"), MemoryError()], ids=repr)
def test_a_poll_that_fails_is_logged_and_all_are_closed(two, monkeypatch, error):
    def fail(_timeout):
        raise error

    poller: Any = SimpleNamespace(register=lambda *_: None, poll=fail)
    monkeypatch.setattr(module, "select", SimpleNamespace(poll=lambda: poller, POLLIN=1))
    acceptor = Accepting(9)
    retire(two, acceptor)
    assert acceptor.lines.events("error")[0].startswith("error call=poll why=")
    assert [one.sock.fileno() for one in two] == [-1, -1]
