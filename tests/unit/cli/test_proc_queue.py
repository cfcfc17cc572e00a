from __future__ import annotations

import os
import socket

import pytest

from echod.cli.proc import accept_queue, address, unscoped
from support.wait import DEADLINE, wait_for


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "::")]
)
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
