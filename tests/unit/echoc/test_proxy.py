from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from echod.echoc import Target
from echod.echoc.connect import connect
from echod.echoc.proxy import header

if TYPE_CHECKING:
    from pathlib import Path

    from support.kinds import Echoc, StartServer


HAPROXY = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen echo
    bind 127.0.0.1:{} accept-proxy
    server echo 127.0.0.1:{}
"""


# Worked out by hand from the tables of proxy-protocol.txt, section 2.2.
V2_SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")


def test_proxy_header_ipv4() -> None:
    assert header(socket.AF_INET, ("192.0.2.1", 0x1234), ("198.51.100.2", 27978)) == V2_SIGNATURE + bytes.fromhex(
        "21 11 000c c0000201 c6336402 1234 6d4a"
    )


def test_proxy_header_ipv6() -> None:
    assert header(socket.AF_INET6, ("2001:db8::1", 1), ("fe80::2%lo", 2)) == V2_SIGNATURE + bytes.fromhex(
        "21 21 0024 20010db8000000000000000000000001 fe800000000000000000000000000002 0001 0002"
    )


def test_proxy_header_comes_first() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        connect(Target("127.0.0.1", listener.getsockname()[1], send_proxy=True)) as client,
    ):
        expected = header(socket.AF_INET, client.getsockname(), listener.getsockname())
        client.sendall(b"payload")
        sock, _ = listener.accept()
        with sock:
            assert sock.recv(len(expected) + 7, socket.MSG_WAITALL) == expected + b"payload"


@pytest.fixture
def haproxy(foreign_server: StartServer, echo_server: tuple[str, int], unused_port: int, tmp_path: Path) -> int:
    """The port of a haproxy that stands before the echo server, and wants a PROXY header."""
    config = tmp_path / "haproxy.cfg"
    config.write_text(HAPROXY.format(unused_port, echo_server[1]))
    return foreign_server("haproxy", "-q", "-db", "-f", str(config), port=unused_port)


def test_through_haproxy_that_demands_the_header(echoc: Echoc, haproxy: int) -> None:
    result = echoc("--proxy", "127.0.0.1", haproxy, input=b"through")
    assert (result.returncode, result.stdout) == (0, b"through")
    assert echoc("--verify", "--proxy", "-P", 3, "-s", "1MiB", "127.0.0.1", haproxy).returncode == 0
    assert echoc("127.0.0.1", haproxy, input=b"through").returncode == 1
