"""The kernel's view of a connection; what a broken network does is in faults/."""

from __future__ import annotations

import socket

from support.processes import connection_of, socket_of


def test_options_of_accepted_sockets(echod):
    echod.start(keepalive="30s")
    with echod.connect() as conn:
        conn.sendall(b"x")
        conn.recv(1)
        (child,) = echod.children()
        with socket_of(child.pid, connection_of(child.pid)) as server:
            tcp = socket.IPPROTO_TCP
            assert server.getpeername() == conn.getsockname()
            assert server.getsockopt(tcp, socket.TCP_NODELAY) == 1
            assert server.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert server.getsockopt(tcp, socket.TCP_KEEPIDLE) == 30
            assert server.getsockopt(tcp, socket.TCP_KEEPINTVL) == 10
            assert server.getsockopt(tcp, socket.TCP_KEEPCNT) == 3
            assert server.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 0
            assert server.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE) == 1
        echod.write(keepalive="never")
        echod.run("reload", check=0)
        with echod.connect() as second:
            second.sendall(b"x")
            second.recv(1)
            (child,) = [process for process in echod.children() if process != child]
            with socket_of(child.pid, connection_of(child.pid)) as server:
                assert server.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
