"""Forked children that are never left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

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
