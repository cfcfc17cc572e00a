from __future__ import annotations

import os
import select
import socket
import struct

import pytest

from echod.echoc import ServerError, Target
from echod.echoc.connect import connect
from echod.echoc.roundtrip import roundtrip
from support.sockets import tcp_pair
from support.wait import DEADLINE

MESSAGE = b"0123456789"


@pytest.mark.parametrize("size", [1, 64, 5 << 20])
def test_the_whole_message_comes_back(echo_server: tuple[str, int], size: int) -> None:
    with connect(Target(*echo_server)) as sock:
        assert roundtrip(sock, os.urandom(size), 30) > 0
        assert roundtrip(sock, os.urandom(size), 30) > 0, "the connection can be used again"


@pytest.mark.parametrize(
    ("answer", "kind", "message", "offset"),
    [
        (b"0123x56789", "changed", "byte 4: expected 0x34, got 0x78", 4),
        (b"0123456789+", "extra", "more than the 10 bytes sent", 10),
    ],
)
def test_an_answer_that_is_wrong(answer: bytes, kind: str, message: str, offset: int) -> None:
    client, server = socket.socketpair()
    with client, server:
        server.sendall(answer)
        with pytest.raises(ServerError) as raised:
            roundtrip(client, MESSAGE, 30)
    fault = raised.value.fault
    assert (fault.kind, fault.message, fault.offset) == (kind, message, offset)


def test_silence() -> None:
    client, server = socket.socketpair()
    with client, server:
        server.sendall(MESSAGE[:3])
        with pytest.raises(ServerError, match=r"stopped echoing: 3 of 10 bytes returned, then nothing for 0\.2 s"):
            roundtrip(client, MESSAGE, 0.2)


def test_an_early_end() -> None:
    client, server = socket.socketpair()
    with client, server:
        server.sendall(MESSAGE[:3])
        server.shutdown(socket.SHUT_WR)
        with pytest.raises(ServerError, match="closed early: before we did, with 3 of 10 bytes returned"):
            roundtrip(client, MESSAGE, 30)


def test_a_reset() -> None:
    client, server = tcp_pair()
    with client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("@ii", 1, 0))
        server.close()
        poller = select.poll()
        poller.register(client, select.POLLIN)
        assert poller.poll(DEADLINE * 1000), "the reset is here"
        with pytest.raises(ServerError, match="reset, with 0 of 10 bytes returned"):
            roundtrip(client, MESSAGE, 30)
