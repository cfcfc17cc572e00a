"""Clients of every kind; each returns what it has counted, to be compared with what the daemon says of it."""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import threading
import time

from support.stream import BLOCK, reset

TIMEOUT = 60.0
# how exactly the daemon must agree: to the byte; the client's RST, or somebody's SIGKILL, came first; never accepted
EXACT, RESET, BROKEN, DENIED, PER_SOURCE = "exact", "reset", "broken", "access", "per_source"
DENIED_NET, LIMITED_NET = "127.66", "127.77"  # sources that `deny` names; sources that go over their limit
BALANCER_NET, CLIENT_NET = "127.88", "10.88"  # load balancers, and the clients that their headers name
PER_SOURCE_LIMIT = 4


class BrokenError(Exception):
    """The connection ended before its client was done: its child was killed, or it was refused."""


class Record:
    """What one connection has counted."""

    def __init__(self, conn):
        self.peer = "{}:{}".format(*conn.getsockname())
        self.to = conn.getpeername()
        self.sent = self.received = 0
        self.verdict = BROKEN


class Sources:
    """Source addresses, each used once: a peer names one connection. `balanced` while there are load balancers."""

    def __init__(self):
        self.balanced = False
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def take(self, net=""):
        with self._lock:
            number = next(self._numbers)
        net = net or f"127.{1 + number // 62_500 % 60}"
        return f"{net}.{1 + number // 250 % 250}.{1 + number % 250}"


def connect(address, source, *, buffer=0):
    """Return a connection and its record."""
    conn = socket.socket()
    try:
        if buffer:
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        conn.settimeout(TIMEOUT)
        conn.bind((source, 0))
        conn.connect(address)
    except BaseException:
        conn.close()
        raise
    return conn, Record(conn)


def send(conn, record, data):
    try:
        while data:
            taken = conn.send(data)
            record.sent += taken
            data = data[taken:]
    except ConnectionError as error:
        raise BrokenError from error


def take(conn, record, most):
    """Read once, of BLOCK repeated from its begin on; return how many bytes."""
    try:
        data = conn.recv(min(most, 65536))
    except ConnectionError as error:
        raise BrokenError from error
    if not data:
        raise BrokenError
    at = record.received % len(BLOCK)
    assert data == (BLOCK[at:] + BLOCK + BLOCK)[: len(data)], f"{record.peer}: other bytes"
    record.received += len(data)
    return len(data)


def receive(conn, record, size):
    """Read `size` bytes."""
    while size:
        size -= take(conn, record, size)


def finish(conn, record):
    """Half-close and take what is left."""
    half_close(conn)
    take_rest(conn, record)


def half_close(conn):
    try:
        conn.shutdown(socket.SHUT_WR)
    except OSError as error:
        raise BrokenError from error


def take_rest(conn, record):
    receive(conn, record, record.sent - record.received)
    try:
        assert conn.recv(1) == b"", f"{record.peer}: too many bytes"
    except ConnectionError as error:
        raise BrokenError from error
    record.verdict = EXACT


def short(conn, record, dice):
    send(conn, record, BLOCK[: dice.randint(0, 200)])
    finish(conn, record)


def bytewise(conn, record, dice):
    for at in range(dice.randint(1, 100)):
        send(conn, record, BLOCK[at : at + 1])
        receive(conn, record, 1)
    finish(conn, record)


def long(conn, record, dice):
    until = time.monotonic() + dice.uniform(1, 4)
    while time.monotonic() < until:
        at = record.sent % len(BLOCK)
        data = BLOCK[at : at + 100]
        send(conn, record, data)
        receive(conn, record, len(data))
        time.sleep(dice.uniform(0.01, 0.2))
    finish(conn, record)


def bulk(conn, record, dice):
    """Send and receive at the same time, and end with a half-close while the rest is on its way."""
    size = dice.randint(1, 4_000_000)
    conn.setblocking(False)
    while record.sent < size:
        readable, writable, _ = select.select([conn], [conn], [], TIMEOUT)
        assert readable or writable, f"{record.peer}: stuck"
        if readable:
            take(conn, record, 65536)
        elif writable:
            at = record.sent % len(BLOCK)
            with contextlib.suppress(BlockingIOError):
                try:
                    record.sent += conn.send(BLOCK[at : at + min(65536, size - record.sent)])
                except ConnectionError as error:
                    raise BrokenError from error
    conn.settimeout(TIMEOUT)
    finish(conn, record)


def late(conn, record, dice):
    """Send all and half-close; read after a while."""
    send(conn, record, BLOCK[: dice.randint(1, 60_000)])
    half_close(conn)
    time.sleep(dice.uniform(0, 1))
    take_rest(conn, record)


def resetting(conn, record, dice):
    """Leave with RST: before anything, after some data, or with an echo unread."""
    record.verdict = RESET
    if dice.random() < 0.7:
        send(conn, record, BLOCK[: dice.randint(1, 100_000)])
    if record.sent and dice.random() < 0.5:
        receive(conn, record, dice.randint(1, record.sent))
    reset(conn)


def idle(conn, record, _dice):
    """Say something, then nothing, until the daemon closes."""
    send(conn, record, BLOCK[:7])
    receive(conn, record, 7)
    with contextlib.suppress(ConnectionError):
        assert conn.recv(1) == b"", f"{record.peer}: too many bytes"
        record.verdict = EXACT


KINDS = {short: 100, bytewise: 15, long: 3, bulk: 4, late: 5, resetting: 15, idle: 1}


def proxied(address, source, dice):
    """Be a client behind a load balancer: known by the name that its header gives."""
    conn, record = connect(address, source)
    host, _, port = record.peer.replace(BALANCER_NET, CLIENT_NET, 1).rpartition(":")
    record.peer = f"{host}:{port}"
    with conn, contextlib.suppress(BrokenError):
        conn.sendall(f"PROXY TCP4 {host} 192.0.2.1 {port} 7\r\n".encode())
        dice.choice([short, bytewise, bulk, late])(conn, record, dice)
    return record


def one(address, source, dice):
    """Be a client of some kind; returns its record."""
    kind = dice.choices([*KINDS], [*KINDS.values()])[0]
    conn, record = connect(address, source, buffer=4096 if dice.random() < 0.05 else 0)
    with conn, contextlib.suppress(BrokenError):
        kind(conn, record, dice)
    return record
