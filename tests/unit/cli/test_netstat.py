from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from typing import Any

import pytest

from echod.cli import netstat, proc, sock_diag
from echod.cli.netstat import accept_queue, sockets_of, unscoped
from echod.cli.proc import address
from echod.common import cmodules
from support.processes import fork, reap
from support.wait import DEADLINE, need_root, wait_for

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914  # netdevice(7)
IFF_UP = 1


@pytest.fixture(params=["netlink", "tables"])
def way(request, monkeypatch):
    """Let a test run twice: with netlink, and where the kernel or a sandbox refuses it."""
    if request.param == "tables":
        monkeypatch.setattr(sock_diag, "NETLINK_SOCK_DIAG", 63)  # no such protocol
    return request.param


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "::")]
)
@pytest.mark.usefixtures("way")
def test_those_who_wait_at_these_listeners_are_counted_and_no_others(family, host):
    with socket.create_server((host, 0), family=family) as one, socket.create_server(("127.0.0.1", 0)) as other:
        servers = (one, one, one, other)
        clients = [socket.create_connection(server.getsockname()[:2], timeout=DEADLINE) for server in servers]
        host, port = one.getsockname()[:2]
        name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        wait_for(lambda: accept_queue(os.getpid(), [name]) == 3, "three to wait")
        one.accept()[0].close()
        wait_for(lambda: accept_queue(os.getpid(), [name, "192.0.2.1:1"]) == 2, "two to wait")
        for client in clients:
            client.close()
    assert accept_queue(os.getpid(), [name]) == 0


def test_without_proc_it_cannot_be_told():
    assert accept_queue(-1, ["127.0.0.1:1"]) is None


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("127.0.0.1:7", ("127.0.0.1", 7)),
        ("[fe80::1%eth0]:7", ("fe80::1", 7)),
        ("[::]:27978", ("::", 27978)),
        ("\x07", ("", -1)),
        ("a:²", ("a", -1)),
        ("a:" + "9" * 5000, ("a", -1)),
    ],
)
def test_a_listeners_name(name, found):
    assert unscoped(name) == found


def test_an_address_of_the_table(monkeypatch):
    for order, v4, v6 in (
        ("little", "0100007F:6D4A", "B80D0120000000000000000001000000:0007"),
        ("big", "7F000001:6D4A", "20010DB8000000000000000000000001:0007"),
    ):
        monkeypatch.setattr("sys.byteorder", order)
        assert address(v4, socket.AF_INET) == ("127.0.0.1", 27978)
        assert address(v6, socket.AF_INET6) == ("2001:db8::1", 7)


@pytest.mark.usefixtures("way")
def test_sockets_by_what_they_are(tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as other,
        socket.create_connection(server.getsockname()) as client,
        socket.create_connection(other.getsockname()[:2]) as client6,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log,
    ):
        log.bind(str(tmp_path / "log"))
        served = server.accept()[0]
        links = {one: os.readlink(f"/proc/self/fd/{one.fileno()}") for one in (server, client6, served, log, client)}
        found = sockets_of(os.getpid(), [*links.values(), "/dev/null"])
        host, port = server.getsockname()
        assert found.pop(links[server]) == f"listens on {host}:{port}"
        assert found.pop(links[served]) == "connection with {}:{}".format(*client.getsockname())
        assert found.pop(links[client], f"connection with {host}:{port}") == f"connection with {host}:{port}"
        found.pop(links[client6], "")
        assert found.pop(links[log]) == f"unix datagram socket {tmp_path}/log"
        assert found == {}
        served.close()


def test_every_connection_is_found_where_no_listener_is_left():
    """As after a reload that has removed an address."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        link = os.readlink(f"/proc/self/fd/{client.fileno()}")
        assert sockets_of(os.getpid(), [link])[link] == "connection with {}:{}".format(*server.getsockname())


def test_without_tables_there_are_no_sockets():
    assert sockets_of(-1, ["socket:[1]"]) == {}


class Counted(socket.SocketType):
    """A socket that counts what it is sent."""

    received = 0

    def recv(self, *args: Any) -> bytes:
        data = super().recv(*args)
        Counted.received += len(data)
        return data


def raise_loopback():
    """Move into a network namespace of this process's own, in which no other test has sockets."""
    LIBC.unshare(CLONE_NEWNET)
    with socket.socket() as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def test_the_length_of_the_accept_queues_costs_the_same_with_any_number_of_connections(monkeypatch):
    need_root()

    def fail(*_):
        raise AssertionError("a table is read")

    def cost(name):
        Counted.received = 0
        assert accept_queue(os.getpid(), [name]) == 0
        return Counted.received

    def look():
        raise_loopback()
        with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
            address, conns = server.getsockname(), []
            name = "{}:{}".format(*address)
            with monkeypatch.context() as patch:
                patch.setattr(cmodules.socket, "socket", Counted)
                patch.setattr(proc, "rows", fail)
                before = cost(name)
                for _ in range(100):
                    conns += [socket.create_connection(address, DEADLINE), server.accept()[0]]
                assert before == cost(name) > 0
            for conn in conns:
                conn.close()

    assert reap(fork(look)) == 0


def test_the_tables_are_read_for_a_process_in_another_network():
    need_root()
    ready, write = os.pipe()

    def serve():
        LIBC.unshare(CLONE_NEWNET)
        server = socket.socket()
        server.bind(("0.0.0.0", 7))
        server.listen()
        os.write(write, b"x")
        wait_for(lambda: os.getppid() == 1, "its end", 60)

    pid = fork(serve)
    try:
        assert os.read(ready, 1) == b"x"
        assert not proc.has_our_network(pid)
        assert [local for _, local, _, _ in netstat.listeners(pid, socket.AF_INET)] == [("0.0.0.0", 7)]
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(ready)
        os.close(write)


def test_an_error_of_the_kernels_is_one(monkeypatch):
    monkeypatch.setattr(sock_diag, "SOCK_DIAG_BY_FAMILY", 63)
    with pytest.raises(OSError, match="Invalid argument"):
        list(sock_diag.sockets(socket.AF_INET, 1))
