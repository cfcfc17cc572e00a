from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import socket
import threading

import pytest

from echod.common.reasons import EOF
from echod.session import bulk
from echod.session.bulk import (
    BUFFER_BYTES,
    BULK_BYTES,
    FIRST_READ_BYTES,
    MAPPING,
    POLLER,
    SMALL_READS,
    VIEWS,
    await_more,
)
from echod.session.session import Limits, Session
from support.sockets import receive


@pytest.fixture
def pair():
    MAPPING.madvise(mmap.MADV_DONTNEED)
    client, served = socket.socketpair()
    with client, served:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * BUFFER_BYTES)
        yield client, served.fileno()
        with contextlib.suppress(KeyError):
            POLLER.unregister(served)


def pages():
    """Return how many pages of the buffer there are (proc(5), pagemap: bit 63 of each)."""
    pin = ctypes.c_char.from_buffer(MAPPING)
    first = ctypes.addressof(pin) // mmap.PAGESIZE
    del pin
    with open("/proc/self/pagemap", "rb", buffering=0) as file:
        entries = os.pread(file.fileno(), BUFFER_BYTES // mmap.PAGESIZE * 8, first * 8)
    return sum(high >> 7 for high in entries[7::8])


def read(pair, size):
    client, fd = pair
    client.sendall(bytes(size))
    assert os.readv(fd, VIEWS) == size
    return size


def test_memory_is_taken_only_as_far_as_it_is_read_into(pair):
    assert pages() == 0
    read(pair, 64)
    assert pages() == 1
    read(pair, 4 * mmap.PAGESIZE)
    assert pages() == 4


@pytest.mark.parametrize(("size", "taken"), [(FIRST_READ_BYTES - 1, 0), (FIRST_READ_BYTES + 1, 1)])
def test_messages_take_none_until_one_fills_a_read(pair, size, taken):
    client, fd = pair
    client.sendall(bytes(size))
    reader = threading.Thread(target=lambda: (receive(client, size), client.shutdown(socket.SHUT_WR)))
    reader.start()
    assert Session(Limits(None, None, lambda: None)).run(fd, [0] * 5, 0) == EOF
    reader.join()
    assert pages() == taken


def test_memory_is_kept_while_more_comes(pair):
    count = read(pair, BUFFER_BYTES // 2)
    pair[0].sendall(b"more")
    assert await_more(pair[1], count, 0)
    assert pages() == BUFFER_BYTES // 2 // mmap.PAGESIZE


def test_memory_is_given_back_when_nothing_comes(pair):
    count = read(pair, BUFFER_BYTES // 2)
    assert not await_more(pair[1], count, 0)
    assert pages() == 0


def test_memory_is_given_back_when_reads_stay_small(pair):
    pair[0].sendall(b"more")
    returned = [0]
    for count in [BUFFER_BYTES, *[BULK_BYTES - 1] * (SMALL_READS - 1), BUFFER_BYTES, *[BULK_BYTES - 1] * SMALL_READS]:
        returned.append(await_more(pair[1], count, returned[-1]))
    assert returned == [0, *range(1, SMALL_READS + 1), *range(1, SMALL_READS + 1), 0]


def test_the_peers_end_is_something_that_comes(pair):
    pair[0].shutdown(socket.SHUT_WR)
    assert await_more(pair[1], BUFFER_BYTES, 0)


@pytest.mark.parametrize("name", ["poll", "give_back"])
def test_what_fails_on_the_way_costs_the_client_nothing(pair, monkeypatch, name):
    def fail(*_args):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(bulk, name, fail)
    assert await_more(pair[1], read(pair, BUFFER_BYTES), 0) == 0
