from __future__ import annotations

import contextlib
import os
import resource
import socket

import pytest

from echod.common.scoreboard import (
    ACCEPTED,
    CLOSED,
)
from echod.server.acceptor import BURST_CLIENTS, FOREVER, FULL, OPEN
from echod.server.acceptor import CLOSED as FOR_GOOD
from support.processes import isolated
from support.sockets import Front, is_rejected, is_served, receive_all
from support.wait import DEADLINE


def test_a_reload_changes_the_cap_for_all():
    def check():
        front = Front("max_children=4")
        clients = [front.connect() for _ in range(6)]
        front.accept()
        front.configure("max_children=2")
        assert front.acceptor.state == FULL
        front.end(clients[0])
        assert front.acceptor.state == FULL, "there are more than the cap, still"
        front.configure("max_children=5")
        assert front.acceptor.state == OPEN
        assert front.accept() == 2
        assert front.acceptor.state == FULL
        front.end(*clients[1:])
        assert front.count(ACCEPTED, CLOSED) == [6, 6]

    isolated(check)


def test_who_waits_at_a_listener_that_goes_is_served_as_far_as_there_is_room():
    def check():
        front = Front("max_children=3", listeners=2)
        clients = [front.connect(1) for _ in range(5)]
        dropped = front.listeners.pop()
        address = dropped.sock.getsockname()
        front.configure("max_children=3")
        assert len(front.children.table) == 3
        assert all(is_served(client) for client in clients[:3])
        assert all(is_rejected(client) for client in clients[3:])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=DEADLINE)
        assert dropped.sock.fileno() == -1
        assert front.acceptor.state == FULL
        front.end(*clients[:3])
        assert front.poller.registered == {front.listeners[0].fd}
        kept = front.connect()
        front.accept()
        assert is_served(kept)
        front.end(kept)

    isolated(check)


def test_a_burst_that_waits_at_a_listener_that_goes_is_served_whole():
    def check():
        front = Front("max_children=256", listeners=2)
        clients = [front.connect(1) for _ in range(3 * BURST_CLIENTS)]
        front.listeners.pop()
        front.configure("max_children=256")
        assert all(is_served(client) for client in clients)
        front.end(*clients)

    isolated(check)


def test_once_closed_it_accepts_nobody_and_stays_so():
    def check():
        front = Front("max_children=9", listeners=2)
        waiting = [front.connect(0), front.connect(1)]
        addresses = [listener.sock.getsockname() for listener in front.listeners]
        front.acceptor.close()
        assert front.acceptor.state == FOR_GOOD
        assert front.acceptor.all() == []
        assert front.poller.registered == set()
        assert all(is_served(client) for client in waiting)
        for address in addresses:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address, timeout=DEADLINE)
        front.end(*waiting)
        assert front.acceptor.state == FOR_GOOD
        front.acceptor.resume(1e12)
        assert front.acceptor.state == FOR_GOOD

    isolated(check)


def test_closing_while_paused_still_serves_who_waits():
    def check():
        front = Front()
        front.acceptor._pause("error call=accept4 why='a test'")
        client = front.connect()
        front.acceptor.close()
        assert front.acceptor.state == FOR_GOOD
        assert is_served(client)
        front.end(client)

    isolated(check)


@pytest.mark.parametrize("paused", ["before", "by the closing"])
def test_a_pause_that_ends_after_the_closing_opens_nothing(paused):
    def check():
        front = Front()
        client = front.connect()
        if paused == "before":
            front.acceptor._pause("error call=accept4 why='a test'")
        else:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        due = front.acceptor.resume_at
        front.acceptor.close()
        if paused != "before":
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert front.lines.texts == ["error call=accept4 why='Too many open files'"]
        assert (front.acceptor.state, front.acceptor.resume_at) == (FOR_GOOD, FOREVER)
        for now in (min(due, 1e12), 1e12):
            front.acceptor.resume(now)
            assert front.acceptor.state == FOR_GOOD
            assert front.poller.registered == set()
        if paused == "before":
            front.end(client)
        assert front.acceptor.state == FOR_GOOD

    isolated(check)


def test_a_listener_that_was_passed_is_closed_and_listens_on():
    def check():
        front = Front()
        (listener,) = front.listeners
        address = listener.sock.getsockname()
        with socket.socket(fileno=os.dup(listener.fd)) as of_the_service_manager:
            listener.address = None
            front.acceptor.close()
            with socket.create_connection(address, timeout=DEADLINE):
                conn, _ = of_the_service_manager.accept()
                conn.close()

    isolated(check)


def test_what_a_client_sent_before_a_stop_comes_back():
    def check():
        front = Front()
        clients = [front.connect() for _ in range(20)]
        for client in clients:
            client.sendall(b"early")
            client.shutdown(socket.SHUT_WR)
        front.acceptor.close()
        assert [receive_all(client) for client in clients] == [b"early"] * 20
        with contextlib.suppress(OSError):
            front.end(*clients)

    isolated(check)
