from __future__ import annotations

import os
import socket
from argparse import Namespace

import pytest

from echod.cli import inetd
from echod.common.errors import EchodError
from support.processes import isolated


def test_one_connection_is_echoed_and_logged(tmp_path):
    args = Namespace(config="/dev/null", options=[f"log={tmp_path}/log", "pid_file=/x"])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        conn, _ = listening.accept()
    client.sendall(b"hello")
    client.shutdown(socket.SHUT_WR)

    def serve():
        os.dup2(conn.fileno(), 0)
        conn.close()
        return inetd.inetd(args)

    isolated(serve)
    conn.close()
    assert client.recv(100) == b"hello"
    assert client.recv(100) == b""
    client.close()
    assert "reason=eof in=5 out=5" in (tmp_path / "log").read_text()


def test_what_is_no_connection_is_refused():
    def serve():
        os.dup2(os.open("/dev/null", os.O_RDWR), 0)
        with pytest.raises(EchodError, match="no connected TCP socket"):
            inetd.inetd(Namespace(config="/dev/null", options=["pid_file=/x"]))

    isolated(serve)
