"""A forking server pays for every page of its own, with every client: it has few of them."""

from __future__ import annotations

import pytest

from support.processes import anonymous

BUDGET = 4.5 * 1024  # KiB


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
