from __future__ import annotations

import os
import select
import signal
import time

import pytest

from echod.common.scoreboard import (
    ACCEPTED,
    ACCESS,
    CLOSED,
    FULL_SINCE,
    OVER_LIMIT,
    PER_SOURCE,
    REFUSED_PEER_AT,
    REFUSED_WHY,
    SEQUENCE,
)
from echod.server.acceptor import BURST_CLIENTS, FULL, OPEN
from echod.server.children import BATCH_CLIENTS
from support.processes import isolated
from support.sockets import Front, is_rejected, is_served
from support.wait import wait_for


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
        assert front.reap() == 0
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
        front.reap()
        (since,) = front.count(FULL_SINCE)
        assert 0 < since <= time.monotonic_ns()
        front.configure("max_children=1", "deny=192.0.2.1")
        assert front.count(FULL_SINCE) == [since], "a reload makes no room"
        front.end(first)
        assert front.count(FULL_SINCE) == [0]
        second = front.connect()
        front.accept()
        front.reap()
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
        clients = [front.connect() for _ in range(2 * BURST_CLIENTS + 5)]
        assert [front.accept() for _ in range(4)] == [BURST_CLIENTS, BURST_CLIENTS, 5, 0]
        clients.append(front.connect())
        assert front.accept() == 1
        clients += [front.connect() for _ in range(8)]
        accepted = [front.accept() for _ in range(4)]
        assert accepted == [1, 2, 4, 1], "one, since the last one was alone; then twice as many as before"
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
        assert front.acceptor.reap_after == BATCH_CLIENTS
        front.configure("max_children_per_source=2")
        other = front.connect()
        front.accept()
        assert is_rejected(other)
        front.end(*clients)
        assert front.acceptor._admission.counts == {}

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
        front = Front("max_children=1")
        (first, second) = front.connect(), front.connect()
        first.close()
        front.accept()
        assert front.acceptor.state == FULL
        (pid,) = front.children.table
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        front.reap()
        assert front.acceptor.state == OPEN
        assert front.count(FULL_SINCE) == [0]
        assert front.lines.events("full") == []
        front.accept()
        front.reap()
        assert front.acceptor.state == FULL
        assert front.lines.events("full") == ["full clients=1 max_children=1"]
        front.end(second)

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
