"""The textbook client: input goes to the server, and the server's answer to output."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from echod.echoc import faults
from echod.echoc.connect import Target, connect
from echod.echoc.duplex import CHUNK_BYTES, Board, receive, sender, write_all
from echod.echoc.faults import LocalError, ServerError, SinkClosedError, Value

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


class Transfer(Value):
    """A stream that came back whole: how many bytes, in how many seconds."""

    def __init__(self, size: int, seconds: float) -> None:
        self.size = size
        self.seconds = seconds


def _ignore(_received: int) -> None:
    pass


def stream(target: Target, source: int = 0, sink: int = 1, on_progress: Callable[[int], None] = _ignore) -> Transfer:
    """Copy the descriptor `source` to the server, half-close, and copy what it returns to the descriptor `sink`.

    `on_progress` is called with the number of bytes returned so far. Bytes are counted, not compared: verify compares
    them. This function forks, so do not call it while other threads run.

    ConnectError: no connection. ServerError: the server closed early, reset, owed a byte or its close for
    `target.timeout` seconds, or returned another number of bytes than were sent. LocalError: `source` or `sink` failed;
    SinkClosedError: no process reads `sink` any more.
    """
    start = time.monotonic()
    with connect(target) as sock, sender(lambda board: _copy_in(source, sock, board)) as board:
        received = 0
        for view in receive(sock, board, target.timeout):
            _put(sink, view, received)
            received += len(view)
            on_progress(received)
        if board.source_errno:
            raise LocalError(f"input: {os.strerror(board.source_errno)}")
        if fault := faults.count_differs(received, board.sent):
            raise ServerError(fault)
    return Transfer(received, time.monotonic() - start)


def _copy_in(source: int, sock: socket.socket, board: Board) -> None:
    buffer = memoryview(bytearray(CHUNK_BYTES))
    while count := _read(source, buffer, board):
        board.sent += count
        sock.sendall(buffer[:count])
    board.half_close(sock)


def _read(source: int, buffer: memoryview, board: Board) -> int:
    try:
        return os.readv(source, [buffer])
    except OSError as error:  # treated as the end: the half-close that follows wakes the receiver
        board.source_errno = error.errno or 0
        return 0


def _put(sink: int, view: memoryview, received: int) -> None:
    try:
        write_all(sink, view)
    except BrokenPipeError:
        raise SinkClosedError(f"output: broken pipe, after {received} bytes") from None
    except OSError as error:
        raise LocalError(f"output: {error.strerror}") from None
