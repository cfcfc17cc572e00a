from __future__ import annotations

import contextlib
import os
import socket
from argparse import Namespace

import pytest

from echod.cli import inetd
from echod.common.config.addresses import write_address
from echod.common.errors import EchodError
from support.processes import isolated
from support.wait import skip


def serve(args, conn):
    """Serve a connection as descriptor 0 of a process of its own, as inetd starts it, and wait for its end."""

    def run():
        os.dup2(conn.fileno(), 0)
        conn.close()
        return inetd.inetd(args)

    isolated(run)
    conn.close()


def test_one_connection_is_echoed_and_logged(tmp_path):
    args = Namespace(config="/dev/null", options=[f"log={tmp_path}/log", "pid_file=/x"])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        conn, _ = listening.accept()
    client.sendall(b"hello")
    client.shutdown(socket.SHUT_WR)

    serve(args, conn)
    assert client.recv(100) == b"hello"
    assert client.recv(100) == b""
    client.close()
    assert "reason=eof in=5 out=5" in (tmp_path / "log").read_text()


def test_a_unix_socket_is_a_connection(tmp_path):
    args = Namespace(config="/dev/null", options=[f"log={tmp_path}/log", "pid_file=/x"])
    client, conn = socket.socketpair()
    client.sendall(b"hello")
    client.shutdown(socket.SHUT_WR)

    serve(args, conn)
    assert client.recv(100) == b"hello"
    assert client.recv(100) == b""
    client.close()
    assert "close peer=unix " in (tmp_path / "log").read_text()


HEADER = b"PROXY TCP6 2001:db8::7 127.0.0.1 51514 7\r\n"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize(
    ("settings", "sent", "back", "line"),
    [
        (["deny={net}"], b"", b"", "refuse peer={peer} reason=access"),
        (["allow=192.0.2.1"], b"", b"", "refuse peer={peer} reason=access"),
        (["allow={net}"], b"x", b"x", "close peer={peer} "),
        (["proxy_from={net}"], HEADER + b"x", b"x", "close peer=[2001:db8::7]:51514 "),
        (["proxy_from={net}", "deny=2001:db8::/32"], HEADER, b"", "refuse peer=[2001:db8::7]:51514 reason=access"),
        (["proxy_from={net}", "deny={net}"], HEADER + b"x", b"x", "close peer=[2001:db8::7]:51514 "),
        (["proxy_from={net}"], b"hello\n", b"", "refuse peer={peer} reason=proxy"),
        (["proxy_from=192.0.2.1"], HEADER, HEADER, "close peer={peer} "),
        (["log_clients=no", "deny={net}"], b"", b"", "refuse peer={peer} reason=access"),
        (["log_summary={net}"], b"x", b"x", "summary source="),
    ],
)
def test_the_rules_apply_to_tcp(tmp_path, host, settings, sent, back, line):
    options = [setting.format(net=host) for setting in settings]
    args = Namespace(config="/dev/null", options=[f"log={tmp_path}/log", "pid_file=/x", *options])
    try:
        listening = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError:
        skip("IPv6")
    with listening:
        client = socket.create_connection(listening.getsockname()[:2])
        conn, _ = listening.accept()
    client.sendall(sent)
    client.shutdown(socket.SHUT_WR)

    serve(args, conn)
    assert b"".join(received(client)) == back
    peer = write_address(client.getsockname())
    client.close()
    assert line.format(peer=peer) in (tmp_path / "log").read_text()


def received(client):
    """Yield what comes until the end; a refusal with data unread ends in a reset."""
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(100):
            yield part


@pytest.mark.parametrize(
    ("environ", "peer"),
    [
        ({}, ""),
        ({"NCAT_REMOTE_ADDR": "192.0.2.7", "NCAT_REMOTE_PORT": "5151"}, "192.0.2.7:5151"),
        ({"SOCAT_PEERADDR": "[2001:db8::7]", "SOCAT_PEERPORT": "5151"}, "[2001:db8::7]:5151"),
        ({"TCPREMOTEIP": "::ffff:192.0.2.7"}, "192.0.2.7:0"),
    ],
)
def test_who_the_client_is_may_be_in_the_environment(monkeypatch, environ, peer):
    for name in [name for pair in inetd.PEER_VARIABLES for name in pair]:
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert inetd.named_peer() == peer


def test_what_is_no_connection_is_refused():
    def serve():
        os.dup2(os.open("/dev/null", os.O_RDWR), 0)
        with pytest.raises(EchodError, match="no connected socket"):
            inetd.inetd(Namespace(config="/dev/null", options=["pid_file=/x"]))

    isolated(serve)
