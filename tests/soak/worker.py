"""Clients that are refused, and the worker that is one client of any kind after another."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time

from soak.clients import (
    BALANCER_NET,
    DENIED,
    DENIED_NET,
    LIMITED_NET,
    PER_SOURCE,
    PER_SOURCE_LIMIT,
    TIMEOUT,
    Record,
    connect,
    finish,
    one,
    proxied,
    receive,
    send,
    take,
)
from support.stream import BLOCK

LIMITED = threading.Lock()


def denied(address, source):
    """Come from a network that is denied: closed, with nothing read."""
    conn, record = connect(address, source)
    record.verdict = DENIED
    with conn, contextlib.suppress(ConnectionError):
        assert conn.recv(1) == b"", f"{record.peer}: denied, and served"
    return record


def over_limit(address, source):
    """Be as many from one source as may be, and one more, who is refused."""
    made: list[tuple[socket.socket, Record]] = []
    with (
        LIMITED,
        contextlib.ExitStack() as stack,
    ):  # one at a time: several could fill the daemon, and wait for each other
        for _ in range(PER_SOURCE_LIMIT):
            conn, record = connect(address, source)
            stack.enter_context(conn)
            send(conn, record, BLOCK[:3])
            while record.received < record.sent:
                patiently(conn, made, lambda: take(conn, record, 3))  # noqa: B023 - called at once
            made.append((conn, record))
        over, record = connect(address, source)
        record.verdict = PER_SOURCE
        with over, contextlib.suppress(ConnectionError):
            assert patiently(over, made, lambda: over.recv(1)) == b"", f"{record.peer}: over the limit, and served"
        for conn, one_of_them in made:
            finish(conn, one_of_them)
    return [record, *(each for _, each in made)]


def patiently(conn, others, read):
    """Read from a connection that may be in the backlog for long; see meanwhile that the others do not get idle."""
    conn.settimeout(0.5)
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        try:
            data = read()
            conn.settimeout(TIMEOUT)
            return data
        except TimeoutError:
            for other, record in others:
                at = record.sent % len(BLOCK)
                send(other, record, BLOCK[at : at + 1])
                receive(other, record, 1)
    raise TimeoutError


def worker(addresses, sources, stop, records, seed):
    """Be one client after another until told to stop; what is wrong goes into `records` as an exception."""
    dice = random.Random(seed)
    try:
        while not stop.is_set():
            address = dice.choice(addresses)
            roll = dice.random()
            if roll < 0.03:
                records.append(denied(addresses[0], sources.take(DENIED_NET)))
            elif roll < 0.05:
                records.extend(over_limit(addresses[0], sources.take(LIMITED_NET)))
            elif roll < 0.08 and sources.balanced:
                records.append(proxied(addresses[0], sources.take(BALANCER_NET), dice))
            else:
                with contextlib.suppress(ConnectionRefusedError):  # the second address comes and goes
                    records.append(one(address, sources.take(), dice))
    except BaseException as error:  # noqa: BLE001 - told by the thread that compares
        records.append(error)
