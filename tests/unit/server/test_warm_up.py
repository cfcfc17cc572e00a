"""What is done before the first client: what its child runs is specialised by then, and nothing is left."""

from __future__ import annotations

import dis
import mmap
import os
import subprocess
import sys
from collections import Counter

import pytest

from echod.server.buffer import FIRST, MAPPING, POLLER, SMALL
from echod.server.children import Children
from echod.server.warm_up import TIMES, serve_ourselves
from support.daemon import SOURCE
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
        MAPPING[0] = 1
        if served[-1] == FIRST + SMALL:
            POLLER.register(fd)

    serve_ourselves(serve)
    assert len(served) == TIMES
    assert set(served) == {len(b"echo"), FIRST + SMALL}
    assert os.listdir("/proc/self/fd") == before
    assert POLLER.poll(0) == []
    assert MAPPING[0] == 0, "its memory was not given back"


HOLES = """
import sys
sys.path.append(sys.argv[1])
from _thread import allocate_lock
from echod.server import warm_up
import ctypes
malloc = ctypes.CDLL(None).malloc
malloc.restype = ctypes.c_void_p
locks = [allocate_lock() for _ in range(600)]
numbers, texts = list(range(10**6, 10**6 + 4000)), [b"%020d" % number for number in range(2000)]
del locks[::2], numbers[::50], texts[::50]  # what is free lies here and there
"""


def run_with_holes(code):
    """Run it in an interpreter whose free memory lies here and there; returns what it prints, as numbers."""
    command = [sys.executable, "-I", "-S", "-c", HOLES + code, str(SOURCE.parent)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr == ""
    return [int(word) for word in done.stdout.split()]


def test_the_blocks_that_a_fork_takes_lie_side_by_side():
    blocks = run_with_holes("warm_up.free_reserved(); print(*(malloc(32) for _ in range(6)))")
    assert max(blocks) - min(blocks) < mmap.PAGESIZE


@pytest.mark.parametrize("make", ["number + 10**7", "b'%020d' % number"])
def test_small_objects_lie_side_by_side(make):
    addresses = run_with_holes(
        f"kept = warm_up.begin_pools(); new = [{make} for number in range(20)]; print(*map(id, new))"
    )
    pages = Counter(address // mmap.PAGESIZE for address in addresses)
    assert max(pages.values()) >= 15, pages
