"""What is done before the first client: what its child runs is specialised by then, and nothing is left."""

from __future__ import annotations

import dis
import os

from echod.server.buffer import FIRST, POLLER, SMALL
from echod.server.children import Children
from echod.server.warm_up import FORK_LOCKS, LOCKS, TIMES, free_locks, serve_ourselves
from support.family import Family
from support.processes import isolated

BASES = ("LOAD_ATTR", "LOAD_METHOD")  # with which the interpreter reads an attribute, before it has specialised that


def reads_of(function, names):
    """Return how a function reads these attributes: an instruction for each of them."""
    found = dis.get_instructions(function, adaptive=True)
    return {each.argval: each.opname for each in found if each.argval in names and each.opname.startswith(BASES)}


def test_what_a_child_does_is_specialised_before_it_is_there():
    def check():
        names = {"_session", "highest_fd", "_words"}
        family = Family()
        family.children.warm_up()
        for name, reads in reads_of(Children.spawn, names | {"run"}).items():
            assert reads not in {*BASES, *(f"{base}_ADAPTIVE" for base in BASES)}, (
                f"{name}: each child would do it anew"
            )
        assert set(reads_of(Children.spawn, names)) == names

    isolated(check)


def test_messages_and_bulk_are_served_and_nothing_is_left():
    served: list[int] = []
    before = os.listdir("/proc/self/fd")

    def serve(fd):
        served.append(len(os.read(fd, 2 * SMALL)))
        if served[-1] == FIRST + SMALL:
            POLLER.register(fd)

    serve_ourselves(serve)
    assert len(served) == TIMES
    assert set(served) == {len(b"echo"), FIRST + SMALL}
    assert os.listdir("/proc/self/fd") == before
    assert POLLER.poll(0) == []


def test_as_many_blocks_as_a_fork_takes_are_free():
    assert len(free_locks()) == LOCKS - FORK_LOCKS
