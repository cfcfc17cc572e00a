from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import pytest

from echod.echoc import ServerError
from echod.echoc.duplex import Board, receive, sender, write_all
from support.sockets import tcp_pair

if TYPE_CHECKING:
    from support.kinds import StartEchoc, StartServer


def received(sock: socket.socket, board: Board, timeout: float = 30) -> bytes:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bytes(8) + (10_000).to_bytes(8, "little"))
    return b"".join(map(bytes, receive(sock, board, timeout)))


def test_a_child_sends_and_this_process_receives() -> None:
    client, server = tcp_pair()

    def send(board: Board) -> None:
        board.sent = 5
        client.sendall(b"hello")
        board.half_close(client)

    with client, server, sender(send) as board:
        assert server.recv(9, socket.MSG_WAITALL) == b"hello", "five bytes, then the child's half-close"
        server.sendall(b"olleh")
        server.shutdown(socket.SHUT_WR)
        assert received(client, board) == b"olleh"
        assert (board.sent, board.ended, board.source_errno) == (5, True, 0)


def test_a_connection_that_breaks_ends_the_sender_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    def send(board: Board) -> None:
        board.sent = 1
        board.source_errno = errno.EIO
        raise BrokenPipeError

    with sender(send) as board:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    assert (board.sent, board.ended, board.source_errno) == (1, False, errno.EIO)
    assert capfd.readouterr().err == ""


def test_an_end_before_ours_is_early() -> None:
    client, server = tcp_pair()
    with client, server:
        board = Board()
        board.sent = 9
        server.sendall(b"123")
        server.shutdown(socket.SHUT_WR)
        with pytest.raises(ServerError, match="closed early: before we did, with 3 of 9 bytes returned"):
            received(client, board)


@pytest.mark.parametrize(
    ("sent", "ended", "kind"), [(9, False, "stopped"), (9, True, "stopped"), (3, True, "never-closes")]
)
def test_silence_is_a_fault_where_something_is_due(sent: int, ended: bool, kind: str) -> None:
    client, server = tcp_pair()
    with client, server:
        board = Board()
        board.sent = sent
        if ended:
            board.half_close(client)
        server.sendall(b"123")
        with pytest.raises(ServerError) as raised:
            received(client, board, timeout=0.1)
    assert raised.value.fault.kind == kind


def test_all_is_written_however_it_is_cut() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, True)
    data = bytes(range(256)) * 8
    write_all(writing, memoryview(data))
    os.close(writing)
    with open(reading, "rb") as file:
        assert file.read() == data


def test_a_reset_is_one_even_if_only_the_sender_hears_of_it(start_echoc: StartEchoc, server: StartServer) -> None:
    port = server("reset")
    for _ in range(10):  # a race: who gets the error, sender or receiver
        with open("/dev/zero", "rb") as zero:
            process = start_echoc("127.0.0.1", port, stdin=zero)
            assert process.wait(timeout=60) == 1
        assert ": reset, with " in process.stderr.read().decode()
