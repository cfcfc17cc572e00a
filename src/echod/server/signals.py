"""Signals become bytes in a pipe, and the pipe is one more descriptor to poll: the self-pipe trick (TLPI 63.5.2).

The byte only wakes the loop; which signals are pending is noted in this process's own memory. A child shares the pipe
but not the memory, so whatever becomes of a signal that reaches a fresh child, its parent never takes it for its own.
A child has nothing to undo but the wakeup: it inherits handlers that ask whose process they are in. (To block all
signals around the fork and to restore their dispositions in the child would do the same, and cost every client more.)
"""

from __future__ import annotations

import sys

from echod.common.cmodules import os, signal
from echod.common.signals_table import DEFAULT, HANDLED, HIGHEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.session.session import Session


class SignalPipe:
    """The read end, `fd`, is readable when a signal has come, and its number is in `pending` then.

    A handler runs before the next bytecode, and its byte was written before that. `session` is the one that a child
    begins with. Once it has a descriptor, this process is a child, and the session gets the signals.
    """

    __slots__ = ("_write_end", "fd", "pending", "session")

    def __init__(self) -> None:
        """Make the pipe and set all dispositions. Raises OSError."""
        self.fd, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.pending: set[int] = set()
        self.session: Session | None = None
        for signum in range(1, HIGHEST + 1):
            try:
                if signum in HANDLED:
                    signal.signal(signum, self._handle)
                elif signum not in DEFAULT:  # without a meaning here: SIGPIPE, SIGALRM, SIGIO, real-time signals …
                    signal.signal(signum, signal.SIG_IGN)
            except OSError:
                continue  # the C library keeps two for itself (nptl(7))

    def open(self) -> None:
        """Let signals wake the loop, and unblock them: the launcher has blocked them.

        A SIGCHLD that arrives just while it is switched off must not be reported on stderr as an error.
        """
        sys.unraisablehook = lambda _unraisable: None
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def take(self) -> set[int]:
        """Return the signals that are pending, and forget them: one that comes meanwhile is pending again."""
        taken, self.pending = self.pending, set()
        return taken

    def watch_children(self, on: bool) -> bool:
        """Let signals wake the loop, SIGCHLD too, or neither of them; return True if they do now.

        Children are forked while this is off. A child must not inherit the wakeup: it closes the descriptor, and
        CPython's handler may deadlock on a closed one. SIGCHLD then has its default action, which ignores the signal
        but, unlike SIG_IGN, leaves a zombie to wait for (wait(2)). If a call fails, signals count as off.
        """
        try:
            if on:
                signal.signal(signal.SIGCHLD, self._handle)
            signal.set_wakeup_fd(self._write_end if on else -1, warn_on_full_buffer=False)
            if not on:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        except OSError:
            return False
        return on

    def _handle(self, signum: int, _frame: object) -> None:
        if self.session and self.session.fd >= 0:
            self.session.end(signum)
        else:
            self.pending.add(signum)
