"""An urgent byte is a byte (RFC 6093)."""

from __future__ import annotations

import socket

from support.sockets import receive_all


def test_it_comes_back_in_its_place(running):
    with running.connect() as conn:
        conn.sendall(b"before ")
        conn.send(b"!", socket.MSG_OOB)
        conn.sendall(b" after")
        conn.shutdown(socket.SHUT_WR)
        assert receive_all(conn) == b"before ! after"
