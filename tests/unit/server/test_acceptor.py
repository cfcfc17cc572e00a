from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import signal
import socket
import time
from types import SimpleNamespace
from typing import Any

import pytest

from echod.common.scoreboard import (
    ACCEPTED,
    ACCESS,
    CLOSED,
    FORK_FAILED,
    FULL_SINCE,
    OVER_LIMIT,
    PER_SOURCE,
    REFUSED_PEER_AT,
    REFUSED_WHY,
    SEQUENCE,
)
from echod.server.acceptor import CLOSED as FOR_GOOD
from echod.server.acceptor import FOREVER, FULL, OPEN, PAUSED
from echod.server.children import BATCH
from support.processes import NOBODY, isolated
from support.sockets import Front, receive_all
from support.wait import DEADLINE, need_root, wait_for


def is_served(client):
    client.sendall(b"x")
    return client.recv(1) == b"x"


def is_rejected(client):
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_it_is_open_until_the_cap_is_reached_then_full_until_somebody_is_reaped():
    def check():
        front = Front("max_children=2")
        assert front.acceptor.state == OPEN
        first = front.connect()
        assert front.accept() == 1
        assert front.acceptor.state == OPEN
        second, third = front.connect(), front.connect()
        assert front.accept() == 1
        assert front.acceptor.state == FULL
        assert front.poller.registered == set(), "a full server sleeps"
        assert front.lines.texts == ["full clients=2 max_children=2"]
        assert is_served(first)
        assert is_served(second)
        assert not select.select([third], [], [], 0)[0], "it waits in the backlog"
        front.end(first)
        assert front.acceptor.state == OPEN
        assert front.poller.registered == {front.listeners[0].fd}
        assert front.accept() == 1
        assert front.acceptor.state == FULL
        assert is_served(third)
        front.end(second, third)
        assert front.count(ACCEPTED, CLOSED) == [3, 3]

    isolated(check)


def test_since_when_it_is_full_is_on_the_scoreboard():
    def check():
        front = Front("max_children=1")
        assert front.count(FULL_SINCE) == [0]
        first = front.connect()
        front.accept()
        (since,) = front.count(FULL_SINCE)
        assert 0 < since <= time.monotonic_ns()
        front.configure("max_children=1", "deny=192.0.2.1")
        assert front.count(FULL_SINCE) == [since], "a reload makes no room"
        front.end(first)
        assert front.count(FULL_SINCE) == [0]
        second = front.connect()
        front.accept()
        assert front.count(FULL_SINCE) > [since]
        front.end(second)

    isolated(check)


def test_who_was_refused_last_is_on_the_scoreboard():
    def check():
        front = Front("deny=127.0.0.1")
        front.connect()
        port = front.connect().getsockname()[1]
        wait_for(lambda: front.accept() is not None and front.count(ACCESS) == [2], "two to be refused")
        assert front.count(REFUSED_WHY) == [ACCESS]
        assert front.reader.copy().text(REFUSED_PEER_AT) == f"127.0.0.1:{port}"
        assert front.count(SEQUENCE)[0] % 2 == 0

    isolated(check)


def test_two_listeners_do_not_share_the_last_place():
    def check():
        front = Front("max_children=3", listeners=2)
        clients = [front.connect(number % 2) for number in range(8)]
        assert front.accept() == 3
        assert len(front.children.table) == 3
        assert front.acceptor.state == FULL
        for client in clients:
            client.close()

    isolated(check)


def test_with_refuse_a_full_server_closes_new_clients_at_once_and_counts_them():
    def check():
        front = Front("max_children=1", "over_limit=refuse")
        first = front.connect()
        front.accept()
        assert front.acceptor.state == FULL
        assert front.poller.registered == {front.listeners[0].fd}
        others = [front.connect() for _ in range(3)]
        wait_for(lambda: front.accept() is not None and front.count(OVER_LIMIT) == [3], "three to be refused")
        assert all(is_rejected(client) for client in others)
        assert is_served(first)
        assert len(front.lines.events("refuse")) == 1, "the rate is limited"
        front.end(first)
        assert front.acceptor.state == OPEN

    isolated(check)


def test_a_burst_is_accepted_in_batches_and_nobody_is_left():
    def check():
        front = Front("max_children=256")
        clients = [front.connect() for _ in range(2 * BATCH + 5)]
        assert front.accept() == BATCH
        assert front.accept() == BATCH
        assert front.accept() == 5
        assert front.accept() == 0
        front.connect()
        front.connect()
        assert front.accept() == 1, "after a client alone it is one at a time, until the next reaping"
        front.reap()
        assert front.accept() == 1
        assert all(is_served(client) for client in clients)
        front.end(*front.clients)

    isolated(check)


@pytest.mark.parametrize(
    ("rule", "word", "reason"),
    [
        ("deny=127.0.0.0/8", ACCESS, "access"),
        ("allow=192.0.2.0/24", ACCESS, "access"),
        ("max_children_per_source=2", PER_SOURCE, "per_source"),
    ],
)
def test_who_is_rejected_is_counted_and_logged_and_gets_no_child(rule, word, reason):
    def check():
        front = Front(rule)
        clients = [front.connect() for _ in range(5)]
        wait_for(lambda: front.accept() == 0, "all to be accepted")
        served = 2 if reason == "per_source" else 0
        assert front.count(word) == [5 - served]
        assert len(front.children.table) == served
        assert all(is_served(client) for client in clients[:served])
        peer = "{}:{}".format(*clients[served].getsockname())
        assert all(is_rejected(client) for client in clients[served:])
        assert front.lines.events("refuse") == [f"refuse peer={peer} reason={reason}"]
        front.end(*clients[:served])

    isolated(check)


def test_a_source_has_room_again_once_its_client_is_reaped():
    def check():
        front = Front("max_children_per_source=1")
        assert front.acceptor.reap_after == 0, "after each turn"
        for number in range(3):
            client = front.connect()
            front.accept()
            assert is_served(client)
            other = front.connect()
            front.accept()
            assert is_rejected(other)
            assert front.count(PER_SOURCE) == [number + 1]
            front.end(client)

    isolated(check)


def test_a_limit_by_source_counts_those_who_came_before_it():
    def check():
        front = Front()
        clients = [front.connect() for _ in range(2)]
        assert front.accept() == 2
        assert front.acceptor.reap_after == BATCH
        front.configure("max_children_per_source=2")
        other = front.connect()
        front.accept()
        assert is_rejected(other)
        front.end(*clients)
        assert front.acceptor._admission.counts == {}

    isolated(check)


def test_a_fork_that_fails_costs_its_client_and_a_pause():
    need_root()

    def check():
        front = Front()
        before = os.listdir("/proc/self/fd")
        os.setresuid(NOBODY, NOBODY, NOBODY)
        soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, hard))
        unlucky, patient = front.connect(), front.connect()
        assert front.accept() == 1
        assert is_rejected(unlucky)
        assert front.count(FORK_FAILED) == [1]
        assert front.acceptor.state == PAUSED
        assert front.poller.registered == set()
        assert front.accept() == 0
        assert [text.split()[0] for text in front.lines.texts] == ["refuse", "fork"]
        assert len(os.listdir("/proc/self/fd")) == len(before) + 2, "the clients' ends"
        resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
        resume_at = front.acceptor.resume_at
        front.acceptor.resume(resume_at - 0.001)
        assert front.acceptor.state == PAUSED
        front.acceptor.resume(resume_at)
        assert front.acceptor.state == OPEN
        assert front.acceptor.resume_at == FOREVER
        assert front.accept() == 1
        assert is_served(patient)
        front.end(patient)

    isolated(check)


@pytest.mark.parametrize("full", [False, True])
def test_without_descriptors_there_is_a_pause_and_the_client_waits(full):
    def check():
        front = Front("max_children=1" if full else "max_children=9", "over_limit=refuse")
        first = front.connect()
        front.accept()
        second = front.connect()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        assert front.accept() == 0
        assert front.acceptor.state == PAUSED
        assert front.lines.texts[-1] == "accept error='Too many open files'"
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        front.acceptor.resume(front.acceptor.resume_at)
        assert front.acceptor.state == (FULL if full else OPEN)
        assert front.accept() == 1
        assert is_rejected(second) if full else is_served(second)
        front.end(first, second)

    isolated(check)


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN])
def test_an_error_of_the_clients_is_no_pause(number):
    def check():
        front = Front()
        (listener,) = front.listeners
        failing: Any = SimpleNamespace(name=listener.name)

        def accept():
            raise OSError(number, os.strerror(number))

        failing.accept = accept
        assert front.acceptor.accept(failing) == 1, "counted: what is due is done in time"
        assert front.acceptor.state == OPEN
        assert front.lines.texts == []

    isolated(check)


def test_to_accept_without_memory_is_a_pause():
    def check():
        front = Front()
        (listener,) = front.listeners
        failing: Any = SimpleNamespace(name=listener.name)

        def accept():
            raise MemoryError

        failing.accept = accept
        assert front.acceptor.accept(failing) == 0
        assert front.acceptor.state == PAUSED
        assert front.lines.texts == ["accept error='MemoryError'"]
        front.acceptor.resume(front.acceptor.resume_at)
        client = front.connect()
        assert front.accept() == 1
        assert is_served(client)
        front.end(client)

    isolated(check)


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
        clients = [front.connect(1) for _ in range(3 * BATCH)]
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
        front.acceptor._pause("accept error='a test'")
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
            front.acceptor._pause("accept error='a test'")
        else:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        due = front.acceptor.resume_at
        front.acceptor.close()
        if paused != "before":
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert front.lines.texts == ["accept error='Too many open files'"]
        assert (front.acceptor.state, front.acceptor.resume_at) == (FOR_GOOD, FOREVER)
        for now in (min(due, 1e12), 1e12):
            front.acceptor.resume(now)
            assert front.acceptor.state == FOR_GOOD
            assert front.poller.registered == set()
        if paused == "before":
            front.end(client)
        assert front.acceptor.state == FOR_GOOD

    isolated(check)


def test_a_server_that_is_full_says_so_once():
    def check():
        front = Front("max_children=1", listeners=2)
        client, _waiting = front.connect(), front.connect(1)
        front.accept()
        assert front.acceptor.state == FULL
        front.configure("max_children=1", "over_limit=refuse")
        front.accept()
        front.listeners.pop()
        front.configure("max_children=1")
        assert front.acceptor.state == FULL
        front.acceptor.close()
        front.log.limits.flush(front.log.write, float("inf"))
        assert front.lines.events("full") == ["full clients=1 max_children=1"]
        front.end(client)

    isolated(check)


def test_it_is_not_full_for_the_sake_of_those_who_have_exited():
    def check():
        front = Front("max_children=2")
        first, second = front.connect(), front.connect()
        front.accept()
        (gone,) = (pid for pid, child in front.children.table.items() if child.address == first.getsockname())
        front.end(second)
        first.close()
        os.waitid(os.P_PID, gone, os.WEXITED | os.WNOWAIT)
        third = front.connect()
        front.accept()
        assert is_served(third)
        assert front.acceptor.state == OPEN
        assert front.children.may_have_exited, "the loop looks again before it sleeps"
        assert len(front.lines.events("full")) == 1, "of the first two"
        front.end(third)

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


@pytest.mark.parametrize("level", ["info", "debug"])
def test_debug_narrates_and_changes_nothing_else(level):
    def check():
        front = Front("max_children=1", log=[f"log_level={level}"])
        client = front.connect()
        front.accept()
        assert is_served(client)
        front.end(client)
        texts = front.lines.texts
        assert bool(front.lines.events("accept")) == bool(front.lines.events("fork")) == (level == "debug")
        assert [text.split()[0] for text in texts if text.startswith(("full", "close peer"))] == ["full", "close"]

    isolated(check)


def test_children_are_forked_with_a_score_of_their_own():
    def check():
        front = Front()
        client = front.connect()
        with open("/proc/self/oom_score_adj") as file:
            own = int(file.read())
        front.accept()
        (pid,) = front.children.table
        with open("/proc/self/oom_score_adj") as file, open(f"/proc/{pid}/oom_score_adj") as childs:
            assert int(file.read()) == own
            assert int(childs.read()) > own or own == 1000
        os.kill(pid, signal.SIGKILL)
        front.end(client)

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
