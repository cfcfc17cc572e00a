"""Signals become bytes in a pipe, and the pipe is one more descriptor to poll: the self-pipe trick (TLPI 63.5.2).

The byte only wakes the loop; which signals have come is noted in this process's own memory. A child shares the pipe
but not the memory, so whatever becomes of a signal that reaches a fresh child, its parent never takes it for its own.
The parent gives up the pipe while it forks, for a client or a crowd, so that no byte of a child's can be in it, either,
and a child has nothing to undo: it inherits handlers that ask whose process they are in. (Blocking all signals around
the fork and restoring seven dispositions in the child does the same, and costs 45 page faults a client.)
"""

from __future__ import annotations

from echod.common.cmodules import os, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.server.session import Session

SIGCHLD = signal.SIGCHLD
HANDLED = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


class SignalPipe:
    """The read end, `fd`, is readable when a signal has come.

    `came` is then set, SIGCHLD has been noted in `dead` and any other signal in `noted`: a handler runs before the next
    bytecode, and its byte was written before that. While a child is forked only the notes are made. Clear a note before
    acting on it, and a signal that comes meanwhile is acted on again. SIGCHLD is let in while it is `heeded`.
    """

    __slots__ = ("came", "dead", "fd", "heeded", "noted", "session", "write_end")

    def __init__(self) -> None:
        self.fd, self.write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.came = self.dead = False  # anything at all; SIGCHLD
        self.heeded = True
        self.noted: set[int] = set()
        self.session: Session | None = None  # in a child, its client's
        signal.set_wakeup_fd(self.write_end)
        for signum in HANDLED:
            signal.signal(signum, self._note)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def open(self) -> None:
        """Let the signals in. The launcher has blocked them, and a rehearsal must not get them."""
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def heed(self, deaths: bool) -> None:
        """Let SIGCHLD in, or not: who looks for the dead every few clients need not be told of each of them.

        Look for them once more when it is let in again. The default action is to ignore it, and unlike SIG_IGN that
        leaves the dead to be waited for (wait(2)).
        """
        if deaths != self.heeded:
            self.heeded = deaths
            signal.signal(SIGCHLD, self._note if deaths else signal.SIG_DFL)

    def _note(self, signum: int, _frame: object) -> None:
        if self.session is not None:
            self.session.end(signum)
            return
        if signum == SIGCHLD:
            self.dead = True
        else:
            self.noted.add(signum)
        self.came = True
