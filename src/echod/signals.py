"""Signals become bytes in a pipe, and the pipe is one more descriptor to poll: the self-pipe trick (TLPI 63.5.2).

Nothing happens inside a handler. Around a fork they are blocked, and the child gives up the pipe and the handlers
before it unblocks them: otherwise a SIGTERM that reaches a fresh child is written into its parent's pipe.
"""

from __future__ import annotations

from echod.lean import os, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

HANDLED = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


def name(signum: int) -> str:
    """Return a signal's name, SIGTERM for 15."""
    for word, number in vars(signal).items():
        if number == signum and word.startswith("SIG") and not word.startswith("SIG_"):
            return word
    return str(signum)


def _noted(_signum: int, _frame: object) -> None:
    """Do nothing: by now the byte is in the pipe."""


class SignalPipe:
    """The read end, `fd`, is readable when a signal has come; made after the last fork of the launcher."""

    def __init__(self) -> None:
        self.fd, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for signum in HANDLED:
            signal.signal(signum, _noted)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def drain(self) -> set[int]:
        """Return the signals that have come since the last call."""
        try:
            return set(os.read(self.fd, 1 << 16))
        except BlockingIOError:
            return set()


class Blocked:
    """A context in which the handled signals wait."""

    def __enter__(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)


def restore_in_child(end: Callable[[int, object], None]) -> None:
    """Give a fresh child its own signals: the pipe first, then the dispositions, then the mask.

    A drain (SIGTERM, SIGQUIT) and the lifetime's SIGALRM end its session. SIGHUP and SIGUSR1 are the daemon's: sent to
    the whole group or by name they must not cost a client. SIGINT ends it at once.
    """
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGQUIT, end)
    signal.signal(signal.SIGALRM, end)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
