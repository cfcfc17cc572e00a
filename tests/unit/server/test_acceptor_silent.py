"""A client that has disconnected without a byte gets no child, once there have been many of these."""

from __future__ import annotations

import socket

import pytest

from echod.common.scoreboard import ACCEPTED, BY_RESET, CLOSED, FORK_FAILED, SEQUENCE
from echod.server import acceptor as module
from echod.server.acceptor import SILENT_CLIENTS
from support.processes import isolated
from support.sockets import Front, is_rejected, is_served
from support.stream import reset
from support.wait import wait_for

MANY = 100


def leave(front, how=socket.socket.close):
    """Be a client that connects and disconnects."""
    how(front.connect())


def take(front):
    """Accept and reap until nobody waits and no child is left."""

    def taken():
        front.accept()
        front.reap()
        return not front.children.table and not front.poller.poll(0)

    wait_for(taken, "all clients to be served")


def wary(*overrides):
    """Return an acceptor that has seen many of these clients."""
    front = Front("max_children=200", *overrides)
    for _ in range(SILENT_CLIENTS):
        leave(front)
    wait_for(lambda: front.accept() == 0, "all to be accepted")
    for child in list(front.children.table):  # all at once, as in a burst
        wait_for(lambda pid=child: _is_zombie(pid), "the child to exit")
    front.reap()
    return front


def _is_zombie(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "Z"


def forked(front):
    """Return how many of the clients had a child, as the log says."""
    return sum(" child=0 " not in line for line in front.lines.events("close"))


@pytest.mark.parametrize("how", [socket.socket.close, reset], ids=["fin", "rst"])
def test_many_of_them_cost_few_forks(how):
    def check():
        front = wary()
        for _ in range(MANY):
            leave(front, how)
        behind = front.connect()
        wait_for(lambda: not front.accept(), "all to be accepted")
        assert is_served(behind), "a client that says nothing yet is still there"
        assert forked(front) == SILENT_CLIENTS
        front.end(behind)
        assert front.count(ACCEPTED, CLOSED) == [SILENT_CLIENTS + MANY + 1] * 2
        assert front.count(BY_RESET) == [MANY if how is reset else 0]
        assert front.count(SEQUENCE)[0] % 2 == 0
        reason = "reset" if how is reset else "eof"
        assert f"child=0 reason={reason} in=0 out=0 secs=0.000" in front.lines.events("close")[-2]

    isolated(check)


def test_one_that_has_sent_something_is_served():
    def check():
        front = wary()
        client = front.connect()
        client.sendall(b"x")
        client.shutdown(socket.SHUT_WR)
        wait_for(front.accept, "it to be accepted")
        assert client.recv(2) == b"x"
        assert client.recv(1) == b""
        front.end(client)

    isolated(check)


def test_one_that_half_closes_gets_its_end():
    def check():
        front = wary()
        client = front.connect()
        client.shutdown(socket.SHUT_WR)
        wait_for(front.accept, "it to be accepted")
        assert client.recv(1) == b""
        assert not front.children.table

    isolated(check)


def test_a_few_change_nothing():
    def check():
        front = Front("max_children=200")
        for _ in range(SILENT_CLIENTS - 1):
            leave(front)
        take(front)
        leave(front)
        take(front)
        assert forked(front) == SILENT_CLIENTS

    isolated(check)


def test_without_them_it_looks_no_more():
    def check():
        front = wary()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "WARY_S", 0.0)
            for _ in range(SILENT_CLIENTS):
                leave(front)
            take(front)
            front.reap()
            leave(front)
            take(front)
        assert forked(front) == SILENT_CLIENTS + 1

    isolated(check)


def test_behind_a_balancer_a_child_decides():
    def check():
        front = wary("proxy_from=127.0.0.1")
        leave(front)
        wait_for(front.accept, "it to be accepted")
        assert len(front.children.table) == 1
        take(front)

    isolated(check)


def test_the_look_takes_nothing():
    here, peer = socket.socketpair()
    with here, peer:
        assert module.reason_of_silence(here.fileno()) == ""
        peer.sendall(b"x")
        assert module.reason_of_silence(here.fileno()) == ""
        assert here.recv(2) == b"x"


def test_without_memory_to_look_the_client_is_closed_and_counted():
    def check():
        front = wary()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "reason_of_silence", lambda _: _raise())
            client = front.connect()
            wait_for(front.accept, "it to be accepted")
        assert is_rejected(client)
        assert front.count(FORK_FAILED) == [1]

    isolated(check)


def _raise():
    raise MemoryError
