"""A forking server pays for every page of its own, with every client: it has few of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from support.processes import anonymous
from support.sockets import receive
from support.wait import wait_for

BUDGET = 4.5 * 1024  # KiB
KEPT = 64  # KiB


@pytest.mark.lean
def test_anonymous_memory_when_it_begins_to_accept(running, record_property):
    used = anonymous(running.pid)
    record_property("KiB", used)
    assert used <= BUDGET


@pytest.mark.lean
def test_a_client_costs_little(running, record_property):
    with running.connect() as conn:
        conn.sendall(b"x")
        conn.recv(1)
        (child,) = running.children()
        used = child.memory_full_info().uss / 1024
        record_property("KiB", used)
        assert used < 1024


@pytest.mark.lean
def test_a_client_that_has_moved_bulk_and_is_idle_gives_its_memory_back(running, record_property):
    data = bytes(1 << 20)
    with running.connect() as conn, ThreadPoolExecutor(1) as pool:
        conn.sendall(b"x")
        assert conn.recv(1) == b"x"
        (child,) = running.children()
        before = anonymous(child.pid)
        sending = pool.submit(lambda: [conn.sendall(data) for _ in range(64)])
        assert len(receive(conn, 64 * len(data))) == 64 * len(data)
        sending.result()

        def grown():
            return anonymous(child.pid) - before

        wait_for(lambda: grown() < KEPT, "the memory to be given back")
        record_property("KiB", grown())
