"""One connection, two processes, as in the textbook: a child sends, this process receives.

Neither can block the other, so a server that stops reading until its client reads works as well.

The receiver's time-out is the server's time to return the next byte that it owes, or to close after the half-close. It
is not restarted by the sender: otherwise a server that reads and never answers would be waited for as long as there is
input. Nor is it restarted by bytes that were never sent.
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import socket
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

from echod.echoc import faults
from echod.echoc.faults import LocalError, ServerError

try:
    import ctypes
except ImportError:  # a Python that was built without libffi
    ctypes = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PR_SET_PDEATHSIG = 1
ENDING_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
CHUNK_BYTES = 1 << 20
EXCESS_LIMIT_BYTES = 1 << 20
LOOKS_PER_TIMEOUT = 10
LONGEST_LOOK_MS = 1000
TCP_CLOSE = 7  # linux/tcp_states.h; the first byte of TCP_INFO is the state
_libc = ctypes and ctypes.CDLL(None)


def _never() -> bool:
    return False


@contextmanager
def forked(run: Callable[[], object], finished: Callable[[], bool] = _never) -> Iterator[int]:
    """Run `run` in a child for as long as the block lasts. Then kill the child, unless `finished` returns True.

    Yield the child's pid. If this process is killed, the kernel kills the child. OSError: fork(2) failed.
    """
    parent = os.getpid()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
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
        yield pid
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
        if _libc:
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:  # it was not killed before prctl
            run()
            status = 0
    except BaseException:  # noqa: BLE001  a child never returns; an exception here is a bug, and is printed
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


class Board:
    """What the sender reports to the receiver, in memory that both share. Only one process writes at a time.

    Each field is written before the act that it reports, so a correct server never seems to be ahead of the sender.
    """

    def __init__(self) -> None:
        self.sender_pid: int | None = None
        self._cells = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("q")

    @property
    def sent(self) -> int:
        """Bytes handed to the kernel, or just being handed."""
        while (count := self._cells[0]) != self._cells[0]:  # a 32-bit machine writes it in two halves
            pass
        return count

    @sent.setter
    def sent(self, count: int) -> None:
        self._cells[0] = count

    @property
    def ended(self) -> bool:
        """True if everything was sent and the sending side is shut down, or just being shut down."""
        return bool(self._cells[1])

    @property
    def source_errno(self) -> int:
        """The errno of the sender's own input, or 0."""
        return self._cells[2]

    @source_errno.setter
    def source_errno(self, number: int) -> None:
        self._cells[2] = number

    def is_sender_killed(self) -> bool:
        """Return True if a signal ended the sender."""
        if self.sender_pid is None:
            return False
        state = os.waitid(os.P_PID, self.sender_pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return state is not None and state.si_code in {os.CLD_KILLED, os.CLD_DUMPED}

    def half_close(self, sock: socket.socket) -> None:
        """End the sending side."""
        self._cells[1] = 1
        with suppress(OSError):  # the connection broke: the receiver reports it
            sock.shutdown(socket.SHUT_WR)


@contextmanager
def sender(send: Callable[[Board], None]) -> Iterator[Board]:
    """Run `send` in a child, which has ended when the block is left. A connection that breaks ends the child silently.

    Yield the board it writes on. The receiver sees the broken connection, and reports it.
    """
    board = Board()

    def run() -> None:
        with suppress(OSError):
            send(board)

    with forked(run, finished=lambda: board.ended) as board.sender_pid:
        yield board


def receive(sock: socket.socket, board: Board, timeout_s: float) -> Iterator[memoryview]:
    """Yield what the server returns, as views on one buffer, until the server closes after the half-close.

    ServerError: the server closed before; the connection broke; a byte or the close that was due did not come for
    `timeout_s` seconds; bytes came that were never sent, and the server did not close within `timeout_s` seconds and
    EXCESS_LIMIT_BYTES. LocalError: the sender was killed. Otherwise the caller judges whether the count is right.
    """
    buffer = memoryview(bytearray(CHUNK_BYTES))
    readable = select.poll()
    readable.register(sock, select.POLLIN)
    look_ms = min(LONGEST_LOOK_MS, max(1, int(timeout_s * 1000 / LOOKS_PER_TIMEOUT)))
    received, was_due = 0, False
    progress_at = time.monotonic()
    while True:
        try:
            count = sock.recv_into(buffer, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            count = -1
        except OSError as error:
            raise ServerError(faults.broken(received, board.sent, board.ended, error)) from None
        if count == 0:
            return _end(sock, board, received)
        if count > 0:
            received += count
            yield buffer[:count]
        sent, ended = board.sent, board.ended
        is_due = ended or received != sent
        if not (is_due and was_due) or (count > 0 and received <= sent):
            was_due = is_due
            progress_at = time.monotonic()  # after the yield: the caller's time is not the server's silence
        elif received > sent + EXCESS_LIMIT_BYTES or time.monotonic() - progress_at >= timeout_s:
            raise ServerError(_overdue(received, sent, ended, timeout_s))
        if count < 0 and board.is_sender_killed():
            raise LocalError("a process of echoc was killed")
        if count < 0:
            readable.poll(look_ms)


def _overdue(received: int, sent: int, ended: bool, timeout_s: float) -> faults.Fault:
    if received > sent:
        return faults.excess(received, sent)
    return faults.silent(received, sent, ended, timeout_s)


def _end(sock: socket.socket, board: Board, received: int) -> None:
    """Judge an end of file: the kernel reports a reset to one process only, and that may have been the sender."""
    state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    if board.ended:  # read after the state: the client's own half-close also leads to TCP_CLOSE
        return
    if state == TCP_CLOSE:
        raise ServerError(faults.broken(received, board.sent, ended=False, error=ConnectionResetError()))
    raise ServerError(faults.closed_early(received, board.sent))


def write_all(descriptor: int, view: memoryview) -> None:
    """Write the whole of `view`, whatever number of bytes each write(2) takes."""
    while view:
        view = view[os.write(descriptor, view) :]
