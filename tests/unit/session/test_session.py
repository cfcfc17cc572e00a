from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as tuned
from hypothesis import strategies as st

from echod.common.reasons import EOF, ERRNO, IDLE, RESET
from echod.common.scoreboard import RECEIVED, SENT
from echod.session import session
from echod.session.bulk import BUFFER_BYTES, BULK_BYTES, FIRST_READ_BYTES
from echod.session.session import Session
from support.sockets import NEVER, PAIRS, Served, limits, receive, receive_all
from support.wait import DEADLINE, wait_for


def play(conn, script):
    """Be a client that sends the bytes and reads the numbers of bytes in `script`; returns what it sent and got.

    A number reads what is outstanding, at most; None half-closes, what would be sent later is left out. While nothing
    more can be sent, the client reads.
    """
    sent, got = bytearray(), bytearray()
    for step in script:
        if isinstance(step, int):
            wanted = min(step, len(sent) - len(got))
            while wanted > 0:
                part = conn.recv(wanted)
                assert part, "closed before all was echoed"
                got += part
                wanted -= len(part)
        elif step is not None:
            sent += step
            rest = memoryview(step)
            while rest:
                readable, writable, _ = select.select([conn], [conn], [], DEADLINE)
                if writable:
                    with contextlib.suppress(BlockingIOError):
                        rest = rest[conn.send(rest, socket.MSG_DONTWAIT) :]
                elif readable:
                    got += conn.recv(1 << 16)
        else:
            break
    conn.shutdown(socket.SHUT_WR)
    return bytes(sent), bytes(got) + receive_all(conn)


CHUNK = st.one_of(
    st.binary(min_size=1, max_size=64),
    st.tuples(st.binary(min_size=1, max_size=64), st.integers(1, 5000)),  # a seed and how many times
)
SCRIPT = st.lists(st.one_of(CHUNK, st.integers(0, 100_000), st.none()), max_size=12)


@pytest.mark.parametrize("pair", PAIRS)
@tuned(max_examples=60)
@given(script=SCRIPT, buffers=st.sampled_from([0, 1 << 14, 1 << 16]))
def test_whatever_is_sent_in_whatever_order_comes_back(pair, script, buffers):
    served = Served(pair=PAIRS[pair], buffers=buffers)
    try:
        sent, got = play(served.conn, [step[0] * step[1] if isinstance(step, tuple) else step for step in script])
        assert got == sent
        assert served.end() == EOF
        assert served.counters[RECEIVED] == served.counters[SENT] == len(sent)
    finally:
        served.close()


@pytest.mark.parametrize("pair", PAIRS)
def test_thousands_of_single_bytes_come_back_in_order(serve, pair):
    served = serve(pair=PAIRS[pair])
    data = os.urandom(5000)
    sent, got = play(served.conn, [bytes([byte]) for byte in data])
    assert sent == got == data


@pytest.mark.parametrize("pair", PAIRS)
def test_a_client_that_reads_late_gets_all_of_it(serve, pair):
    served = serve(pair=PAIRS[pair], buffers=4096)
    data = os.urandom(1 << 20)
    taken = served.stuff(data)
    assert 0 < taken < len(data), "the buffers were to fill"
    got = bytearray()
    while len(got) < taken:
        got += served.conn.recv(1 << 16)
    assert got == data[:taken]
    served.conn.shutdown(socket.SHUT_WR)
    assert served.conn.recv(1) == b""
    assert served.end() == EOF


@pytest.mark.parametrize("pair", PAIRS)
def test_a_client_that_does_not_read_is_not_read_from(serve, pair):
    def private():
        pages = Path(f"/proc/{served.pid}/statm").read_text().split()
        return (int(pages[1]) - int(pages[2])) * mmap.PAGESIZE

    served = serve(pair=PAIRS[pair])
    served.conn.sendall(b"x")
    assert served.conn.recv(1) == b"x"
    before = private()
    taken = served.stuff(bytes(1 << 20))
    assert taken < 64 << 20
    assert served.counters[RECEIVED] < taken, "the kernel's buffers hold the rest"
    assert private() - before < 4 << 20


def test_the_counters_say_what_has_been_written_to_the_byte(serve):
    served = serve(limits(idle=0.2, drain=0.2), pair=socket.socketpair, buffers=1 << 14)
    served.conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)  # it reads more at once than it can write
    served.pause()
    taken = served.stuff(os.urandom(1 << 20))
    served.signal(signal.SIGCONT)
    assert served.end() == IDLE
    got = 0
    with contextlib.suppress(ConnectionResetError):
        while part := served.conn.recv(1 << 16):
            got += len(part)
    assert 0 < got == served.counters[SENT] < served.counters[RECEIVED] <= taken


def test_a_peer_that_resets_is_told_from_one_that_closes(serve):
    served = serve()
    served.conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    served.conn.close()
    assert served.end() == RESET


def test_a_peer_that_closes_without_reading_is_a_reset(serve):
    served = serve()
    served.pause()
    assert served.stuff(bytes(1 << 20)) > BUFFER_BYTES, "more than one read"
    served.conn.close()
    served.signal(signal.SIGCONT)
    assert served.end() == RESET


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE, signal.SIGCHLD, signal.SIGWINCH])
def test_signals_for_the_daemon_cost_no_client(serve, signum):
    served = serve()
    served.signal(signum)
    assert play(served.conn, [b"still here"]) == (b"still here", b"still here")
    assert served.end() == EOF


def test_reads_are_short_until_a_message_fills_one(monkeypatch):
    counts = []

    def read(fd, size):
        counts.append(size)
        return os.read(fd, size)

    monkeypatch.setattr(session, "read", read)
    client, conn = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # a read for each message
    for count in (10, FIRST_READ_BYTES - 1, FIRST_READ_BYTES, 10):
        client.sendall(bytes(count))
    client.shutdown(socket.SHUT_WR)
    assert Session(NEVER).run(conn.fileno(), [0, 0, 0, 0, 0], 0) == EOF
    assert counts == [FIRST_READ_BYTES] * 3, "what comes then is read into the mapping"
    client.close()
    conn.close()


def test_small_messages_do_not_pay_for_large_ones(monkeypatch):
    counts = []

    def await_more(_fd, count, _small):
        counts.append(count)
        return int(count == BULK_BYTES)

    monkeypatch.setattr(session, "await_more", await_more)
    client, conn = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # a read for each message
    for count in (1, BULK_BYTES - 1, BULK_BYTES, BULK_BYTES - 1, BULK_BYTES - 1, 1):
        client.sendall(bytes(count))
    client.shutdown(socket.SHUT_WR)
    assert Session(NEVER).run(conn.fileno(), [0, 0, 0, 0, 0], 0) == EOF
    assert counts == [BULK_BYTES, BULK_BYTES - 1], "the second ends the bulk"
    client.close()
    conn.close()


def test_an_idle_client_that_has_moved_bulk_gives_its_memory_back(serve):
    served = serve()

    def anonymous():
        return int(Path(f"/proc/{served.pid}/status").read_text().partition("RssAnon:")[2].split()[0])

    def bulk():
        data = os.urandom(1 << 20)
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(served.conn.sendall, data)
            assert receive(served.conn, len(data)) == data
            sending.result()

    served.conn.sendall(b"x")
    assert served.conn.recv(1) == b"x"
    before = anonymous()
    for _ in range(2):
        bulk()
        wait_for(lambda: anonymous() - before < 64, "the memory to be given back")


def test_an_error_of_the_socket_is_the_reason():
    fd = os.open("/dev/null", os.O_WRONLY)
    assert Session(NEVER).run(fd, [0, 0, 0, 0, 0], 0) == ERRNO + 9
    os.close(fd)
