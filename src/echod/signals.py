"""Signals become bytes in a pipe, and the pipe is one more descriptor to poll: the self-pipe trick (TLPI 63.5.2).

The byte only wakes the loop; which signals have come is noted in this process's own memory. A child shares the pipe
but not the memory, so whatever becomes of a signal that reaches a fresh child, its parent never takes it for its own.
The parent gives up the pipe for the moment of the fork, so that no byte of a child's can be in it, either, and a child
has nothing to undo: it inherits handlers that ask whose process they are in. (Blocking all signals around the fork and
restoring seven dispositions in the child does the same, and costs 45 page faults a client.)
"""

from __future__ import annotations

from echod.lean import os, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.session import Session

HANDLED = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


def name(signum: int) -> str:
    """Return a signal's name, SIGTERM for 15."""
    for word, number in vars(signal).items():
        if number == signum and word.startswith("SIG") and not word.startswith("SIG_"):
            return word
    return str(signum)


class SignalPipe:
    """The read end, `fd`, is readable when a signal has come; made after the last fork of the launcher."""

    __slots__ = ("_noted", "_write_end", "fd", "session")

    def __init__(self) -> None:
        self.fd, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._noted: set[int] = set()
        self.session: Session | None = None  # in a child, its client's
        self.arm()
        for signum in (*HANDLED, signal.SIGALRM):
            signal.signal(signum, self._note)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _note(self, signum: int, _frame: object) -> None:
        if self.session is None:
            self._noted.add(signum)
        else:
            self.session.end(signum)

    def arm(self) -> None:
        """Take the pipe, again after a fork; a signal that came meanwhile has been noted, but woke nobody."""
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        if self._noted:
            os.write(self._write_end, b"\0")

    def drain(self) -> set[int]:
        """Return the signals that have come since the last call.

        A handler runs before the next bytecode, and its byte is written before that: what wrote the bytes read here
        has been noted when read returns.
        """
        os.read(self.fd, 4096)
        noted, self._noted = self._noted, set()
        return noted
