"""One connection, two processes, as in the textbook: a child sends, this process receives.

Neither can block the other, so a server that stops reading until it is read from works as well.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

from echod.echoc import faults
from echod.echoc.faults import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


PR_SET_PDEATHSIG = 1
ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_libc = ctypes.CDLL(None)


def _never() -> bool:
    return False


@contextmanager
def forked(run: Callable[[], object], finished: Callable[[], bool] = _never) -> Iterator[None]:
    """Run `run` in a child for as long as the block lasts; then kill the child, unless `finished` says it is ending.

    Should this process be killed, the kernel kills the child. OSError: no process to be had.
    """
    parent = os.getpid()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        pid = os.fork()
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise
    if pid == 0:
        _live(run, parent, mask)
    try:
        # Not before the try, or an interrupt since the fork would leave the child running.
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        yield
    finally:
        if not finished():
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _live(run: Callable[[], object], parent: int, mask: set[int | signal.Signals]) -> NoReturn:
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # at a terminal both receive it: the parent decides
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:  # it was not killed before prctl
            run()
            status = 0
    except BaseException:  # noqa: BLE001  a child never returns; an exception here is a bug, and is printed
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


CHUNK = 1 << 20
TCP_CLOSE = 7  # linux/tcp_states.h; the first byte of TCP_INFO is the state


class Board:
    """What the sender tells the receiver, in memory that both share. Only one process writes at a time.

    Each field is written before the act that it reports, so a right server never seems to be ahead of the sender.
    """

    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("q")

    @property
    def sent(self) -> int:
        """Bytes handed to the kernel, or just being handed."""
        return self._cells[0]

    @sent.setter
    def sent(self, count: int) -> None:
        self._cells[0] = count

    @property
    def ended(self) -> bool:
        """Whether all was sent, and the sending side shut down, or just being so."""
        return bool(self._cells[1])

    @property
    def source_errno(self) -> int:
        """Why the sender's own input failed; 0: it did not."""
        return self._cells[2]

    @source_errno.setter
    def source_errno(self, number: int) -> None:
        self._cells[2] = number

    def half_close(self, sock: socket.socket) -> None:
        """End the sending side."""
        self._cells[1] = 1
        sock.shutdown(socket.SHUT_WR)


@contextmanager
def sender(send: Callable[[Board], None]) -> Iterator[Board]:
    """Run `send` in a child, which is gone when the block is left; a connection that breaks simply ends it.

    Yield the board it writes on. The receiver sees the broken connection, and reports it.
    """
    board = Board()

    def run() -> None:
        with suppress(OSError):
            send(board)

    with forked(run, finished=lambda: board.ended):
        yield board


def receive(sock: socket.socket, board: Board, timeout: float) -> Iterator[memoryview]:
    """Yield what the server returns, as views on a buffer that is used again, until it closes after the half-close.

    ServerError: it closed before, or the connection broke, or nothing moved for `timeout` seconds while bytes or the
    close were due. Whether the count is right is for the caller to say.
    """
    buffer = memoryview(bytearray(CHUNK))
    received, sent = 0, (0, False)
    moved = time.monotonic()
    while True:
        try:
            count = sock.recv_into(buffer)
        except BlockingIOError:
            if (board.sent, board.ended) != sent:
                sent = (board.sent, board.ended)
                moved = time.monotonic()
            elif time.monotonic() - moved >= timeout and (board.ended or received < board.sent):
                raise ServerError(faults.silent(received, board.sent, board.ended, timeout)) from None
            continue
        except OSError as error:
            raise ServerError(faults.broken(received, board.sent, board.ended, error)) from None
        if count == 0:
            return _end(sock, board, received)
        received += count
        yield buffer[:count]
        moved = time.monotonic()  # only now: the time that the caller takes is not the server's silence


def _end(sock: socket.socket, board: Board, received: int) -> None:
    """Judge an end of file: the kernel reports a reset to one process only, and that may have been the sender."""
    state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    if board.ended:  # read after the state: the client's own half-close also leads to TCP_CLOSE
        return
    if state == TCP_CLOSE:
        raise ServerError(faults.broken(received, board.sent, ended=False, error=ConnectionResetError()))
    raise ServerError(faults.closed_early(received, board.sent))


def write_all(descriptor: int, view: memoryview) -> None:
    """Write the whole of `view`, however the kernel cuts it."""
    while view:
        view = view[os.write(descriptor, view) :]
