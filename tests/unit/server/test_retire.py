from __future__ import annotations

import os
import socket

import pytest

from echod.server.retire import retire
from support.sockets import accept, memory_log, port_of
from support.wait import DEADLINE


class Accepting:
    """Accepts clients and keeps them, as far as there is room."""

    def __init__(self, most):
        self.most, self.conns = most, []

    def room(self):
        return self.most - len(self.conns)

    def accept(self, listener):
        self.conns.append(socket.socket(fileno=accept(listener)[0]))
        return 1


@pytest.mark.parametrize(("most", "served"), [(10, 3), (2, 2), (0, 0)])
def test_who_waits_is_served_as_far_as_there_is_room_and_then_nobody_can_connect(bound, most, served):
    (one,) = bound("127.0.0.1", 0)
    address = ("127.0.0.1", port_of(one))
    clients = [socket.create_connection(address, timeout=DEADLINE) for _ in range(3)]
    accepting = Accepting(most)
    retire([one], accepting, memory_log()[0])
    assert len(accepting.conns) == served
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=DEADLINE)
    for conn in clients + accepting.conns:
        conn.close()


def test_a_socket_that_was_passed_is_only_closed(bound):
    (one,) = bound("127.0.0.1", 0)
    one.address = None
    with socket.socket(fileno=os.dup(one.fd)) as passed:
        accepting = Accepting(10)
        with socket.create_connection(passed.getsockname(), timeout=DEADLINE):
            retire([one], accepting, memory_log()[0])
            assert not accepting.conns
            passed.accept()[0].close()
