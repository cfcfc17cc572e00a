"""Refusals in the log add up to all there were, whatever happens meanwhile; each source has lines of its own."""

from __future__ import annotations

import contextlib
import re
import socket

from support.sockets import receive_all
from support.wait import DEADLINE, wait_for


def refused(address, source, times):
    """Connect from a source, and be rejected."""
    for _ in range(times):
        with (
            socket.create_connection(address, timeout=DEADLINE, source_address=(source, 0)) as conn,
            contextlib.suppress(ConnectionError),
        ):
            assert receive_all(conn) == b""


def logged(echod):
    """Return how many refusals the lines of the log stand for, for each source."""
    counts: dict[str, int] = {}
    for line in echod.events("refuse"):
        (source,) = re.findall(r"peer=([\d.]+):", line)
        left_out = re.search(r"left_out=(\d+)", line)
        counts[source] = counts.get(source, 0) + 1 + (int(left_out[1]) if left_out else 0)
    return counts


def test_they_add_up_across_reloads_reopens_and_a_stop(echod):
    echod.start(deny="127.0.0.0/8")
    address = echod.address
    for number in range(4):
        refused(address, "127.0.0.1", 100)
        echod.write(max_children=100 + number)
        echod.run("reload", check=0)
        echod.run("reopen", check=0)
    assert echod.status()["refused"]["access"] == 400
    echod.run("stop", check=0)
    assert logged(echod) == {"127.0.0.1": 400}


def test_a_second_source_is_named_at_once(echod):
    echod.start(deny="127.0.0.0/8")
    refused(echod.address, "127.0.0.1", 10)
    refused(echod.address, "127.0.0.7", 1)
    wait_for(lambda: any("peer=127.0.0.7:" in line for line in echod.events("refuse")), "the second source")
    echod.run("stop", check=0)
    assert logged(echod) == {"127.0.0.1": 10, "127.0.0.7": 1}


def test_a_flood_of_sources_is_bounded_and_adds_up(echod):
    echod.start(deny="127.0.0.0/8")
    address = echod.address
    for number in range(200):
        refused(address, f"127.0.{number // 100}.{number % 100 + 1}", 3)
    echod.run("stop", check=0)
    assert sum(logged(echod).values()) == 600
    assert len(echod.events("refuse")) < 200
