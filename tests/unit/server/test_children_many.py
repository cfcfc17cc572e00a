"""With thousands of children the newest are asked for by pid, and those that exit together are reaped together."""

from __future__ import annotations

import os

import pytest

from echod.server import children as module
from support.family import ADDRESS, Family, exited
from support.processes import isolated

MANY, NEWEST = 8, 4


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Let a few children count as many."""
    monkeypatch.setattr(module, "MANY_CHILDREN", MANY)
    monkeypatch.setattr(module, "NEWEST_CHILDREN", NEWEST)


@pytest.fixture
def calls(monkeypatch):
    """Record the pids that waitpid(2) is called for."""
    asked, real = [], vars(module)["waitpid"]

    def record(pid, options):
        asked.append(pid)
        return real(pid, options)

    monkeypatch.setattr(module, "waitpid", record)
    return asked


def grown(number):
    """Return a family with so many children, and their clients by pid."""
    family = Family()
    clients = {}
    for _ in range(number):
        client = family.spawn()
        clients[next(reversed(family.children.table))] = client
    return family, clients


def end(clients, *pids):
    """Close the clients of these children, and wait until these have exited."""
    for pid in pids:
        clients.pop(pid).close()
    exited(*pids)


def test_of_many_the_newest_are_asked_for_and_all_walked_through_once(calls):
    def check():
        family, clients = grown(3 * MANY)
        pids = list(clients)
        end(clients, *pids[-3:])
        addresses, others = family.children.reap()
        assert (len(addresses), others) == (3, {})
        assert calls == [*reversed(pids[-NEWEST:]), -1]
        for client in clients.values():
            client.close()
        family.reap()

    isolated(check)


def test_the_oldest_and_orphans_are_reaped_too(calls):
    def check():
        family, clients = grown(2 * MANY)
        end(clients, *list(clients)[:2])
        orphan = os.fork()
        if not orphan:
            os._exit(3)
        exited(orphan)
        addresses, others = family.children.reap()
        assert addresses == [ADDRESS] * 2
        assert others == {orphan: 3 << 8}
        assert calls.count(-1) == 4
        for client in clients.values():
            client.close()
        family.reap()

    isolated(check)


def test_a_few_are_not_asked_for_one_by_one(calls):
    def check():
        family, clients = grown(MANY)
        end(clients, list(clients)[-1])
        family.children.reap()
        assert calls == [-1, -1]
        for client in clients.values():
            client.close()
        family.reap()

    isolated(check)


def test_while_many_exit_none_of_them_wakes_the_loop():
    def check():
        family, clients = grown(2 * MANY)
        assert family.children.reap()[0] == []
        assert family.children.watched
        end(clients, next(iter(clients)))
        family.children.reap()
        assert not family.children.watched, "the others are reaped together, a little later"
        family.children.reap()
        assert family.children.watched, "nobody has exited since"
        for client in clients.values():
            client.close()
        family.reap()

    isolated(check)
