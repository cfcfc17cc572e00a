"""Every byte comes back, in order, whatever the client: the ones people have, and unusual ones."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.processes import close_all, connect_many, descriptors, zombies
from support.sockets import exchange, receive_all
from support.wait import DEADLINE, need, skip, wait_for

MIB = 1 << 20
# bash cannot half-close: it has to know how much comes back
BASH = 'exec 3<>"/dev/tcp/$0/$1"; head -c "$2" <&3 & cat >&3; wait'
CLIENTS = {
    "nc.openbsd": ["-N", "{host}", "{port}"],
    "nc.traditional": ["-q1", "{host}", "{port}"],
    "ncat": ["{host}", "{port}"],
    "socat": ["-t60", "-", "TCP:{host}:{port}"],
    "bash": ["-c", BASH, "{host}", "{port}", "{size}"],
}


@pytest.mark.parametrize("client", CLIENTS)
def test_common_clients_get_back_4_mib(running, client):
    data = os.urandom(4 * MIB)
    host, port = running.address
    words = [word.format(host=host, port=port, size=len(data)) for word in CLIENTS[client]]
    done = subprocess.run([need(client), *words], input=data, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == data


def test_a_client_that_reads_late_gets_back_64_mib(running):
    data = os.urandom(MIB) * 64
    with running.connect() as conn:
        conn.settimeout(60)

        def send():
            conn.sendall(data)
            conn.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        time.sleep(2)  # no event to wait for: being late is the point
        assert sender.is_alive(), "64 MiB fit into the buffers: this tests nothing"
        back = receive_all(conn)
        sender.join(DEADLINE)
    assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()


@pytest.mark.lean
def test_a_client_that_does_not_read_is_not_read_from(running):
    with running.connect() as conn:
        conn.settimeout(0.5)
        with pytest.raises(TimeoutError):
            conn.sendall(bytes(256 * MIB))
        (child,) = running.children()
        assert child.memory_full_info().uss < 8 * MIB


def test_5000_writes_of_one_byte(running):
    data = os.urandom(5000)
    with running.connect() as conn:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in data:
            conn.send(bytes([byte]))
        conn.shutdown(socket.SHUT_WR)
        assert receive_all(conn) == data


def test_each_line_is_answered_before_the_next(running):
    with running.connect() as conn, conn.makefile("rwb", buffering=0) as stream:
        for number in range(200):
            stream.write(b"line %d\n" % number)
            assert stream.readline() == b"line %d\n" % number


def test_500_clients_at_once(echod):
    echod.start(max_children=500, log_clients="no")
    before = descriptors(echod.pid)
    conns = connect_many(echod, 500)
    wait_for(lambda: echod.status()["clients"] == 500, "500 clients")
    blocks = [os.urandom(64 << 10) for _ in conns]

    def serve(conn, block):
        sender = threading.Thread(target=lambda: (conn.sendall(block), conn.shutdown(socket.SHUT_WR)))
        sender.start()
        back = receive_all(conn)
        sender.join(DEADLINE)
        return back == block

    with ThreadPoolExecutor(500) as pool:
        assert all(pool.map(serve, conns, blocks))
    close_all(conns)
    status = echod.wait_idle()
    assert (status["accepted"], status["closed"], status["peak_clients"]) == (500, 500, 500)
    assert status["bytes_in"] == status["bytes_out"] == 500 * (64 << 10)
    assert not zombies(echod.pid)
    assert not echod.children()
    assert descriptors(echod.pid) == before


def test_a_client_that_sends_nothing_gets_nothing(running):
    assert exchange(running.address, b"") == b""
    running.wait_idle()
    assert "reason=eof in=0 out=0" in running.events("close")[0]


def test_binary_comes_back_as_it_was(running):
    data = bytes(range(256)) * 64 + b"\xff\xf4\xff\xfd\x06\r\n\0\x04\x1a"
    assert exchange(running.address, data) == data


def test_a_client_that_is_reset_disturbs_no_other(running):
    with running.connect() as other:
        with running.connect() as conn:
            conn.sendall(b"x")
            assert conn.recv(1) == b"x"
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        wait_for(lambda: any("reason=reset" in line for line in running.events("close")), "the reset client's line")
        other.sendall(b"still here")
        assert other.recv(100) == b"still here"


@pytest.fixture
def ipv6():
    """Skip where the machine has no IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        skip("IPv6")


@pytest.mark.usefixtures("ipv6")
def test_ipv6(echod):
    echod.start(listen="[::1]:0")
    assert exchange(echod.address, b"six") == b"six"
    echod.wait_idle()
    assert "close peer=[::1]:" in echod.events("close")[0]


@pytest.mark.usefixtures("ipv6")
def test_both_families_on_one_port(echod):
    echod.start(listen="*:0")
    listen = echod.status()["listen"]
    assert {text.rpartition(":")[0] for text in listen} == {"0.0.0.0", "[::]"}
    assert len({text.rpartition(":")[2] for text in listen}) == 1
    for host in ("127.0.0.1", "::1"):
        assert exchange((host, echod.port), b"either") == b"either"
