"""The children, one a client: spawn, reap, signal. The only place that forks.

A child is entered in the table before anyone can reap it, never returns from `spawn`, and keeps no descriptor but its
connection and 0 to 2. What a client costs is above all the pages that it or its parent writes to while both have them:
each is copied. So a child is given nothing that was not there before, its code has been rehearsed by the parent, and
the parent keeps its books, scoreboard and log, for many clients at once: `spawn` does not write to them.
"""

from __future__ import annotations

import errno

from echod.lean import os, signal, socket
from echod.log import INFO
from echod.scoreboard import ENDED, monotonic_ns
from echod.session import CRASHED, ERRNO, Limits, Session
from echod.signals import SignalPipe, name
from echod.values import write_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from echod.log import Log
    from echod.scoreboard import Scoreboard

REASONS = ("eof", "error=CRASHED", "reset", "idle", "lifetime", "drain")
HIGHEST_FD = 0x7FFFFFFF
REHEARSALS = 100
CLOSE = "close peer=%s child=%d reason=%s in=%d out=%d secs=%d.%03d"
# names of our own: one object less to touch than with the module's name before them, in the parent and in each child
WNOHANG = os.WNOHANG
fork, close, closerange, waitpid, _exit = os.fork, os.close, os.closerange, os.waitpid, os._exit  # noqa: SLF001
set_wakeup_fd = signal.set_wakeup_fd


class Children:
    """The table: by pid, the slot of each child on the scoreboard, and its peer as accept(2) gave it, or as text."""

    __slots__ = ("_debugging", "_session", "_words", "board", "log", "signals", "table", "unbooked")

    def __init__(self, board: Scoreboard, signals: SignalPipe, log: Log) -> None:
        self.board, self._words = board, board.words
        self.signals = signals
        self.set_log(log)
        self.table: dict[int, tuple[int, Any]] = {}
        self._session: Session
        self.unbooked = 0  # the youngest in the table, not on the scoreboard yet

    def spawn(self, fd: int, address: tuple[Any, ...]) -> None:
        """Fork a child that serves the connection `fd`, which is closed here. Raises OSError when fork does."""
        slot, signals = self.board.take(), self.signals
        set_wakeup_fd(-1)  # for the moment of the fork: see `signals`
        try:
            pid = fork()
            if pid == 0:
                reason = CRASHED
                try:
                    if self._debugging:
                        self.log.debug(
                            f"child keeps fd={fd}, closes the others above 2: listeners, pipe, log, pid file"
                        )
                    reason = self._serve(fd, slot, 3, HIGHEST_FD)
                finally:
                    _exit(reason)  # a child never returns: no atexit, nothing buffered written twice
            self.table[pid] = (slot, address)
            self.unbooked += 1
        except OSError:
            self.board.free(slot)
            raise
        finally:
            set_wakeup_fd(signals.write_end)
            close(fd)
        if self._debugging:
            self.log.debug(f"fork child={pid} slot={slot} clients={len(self.table)}; the parent has closed fd={fd}")

    def _serve(self, fd: int, slot: int, lowest: int, highest: int) -> int:
        """Be the child: signals are the session's, no descriptor but its own; then echo."""
        client = self.signals.session = self._session
        closerange(lowest, fd)
        closerange(fd + 1, highest)
        reason = client.run(fd, self._words, slot)
        self._words[slot + ENDED] = monotonic_ns()
        return reason

    def book(self) -> None:
        """Enter the youngest on the scoreboard."""
        for pid, (slot, address) in reversed(self.table.items()):
            if self.unbooked == 0:
                break
            self.unbooked -= 1
            peer = write_address(address)
            self.table[pid] = (slot, peer)
            self.board.enter(slot, pid, peer)

    def set_log(self, log: Log) -> None:
        """Set the log of what becomes of children."""
        self.log, self._debugging = log, log.debugging

    def set_limits(self, limits: Limits) -> None:
        """Set the limits of the children to come."""
        self._session = Session(limits)

    def rehearse(self) -> None:
        """Serve a few bytes to ourselves, before there is a client and while signals are blocked. Raises OSError.

        The interpreter specialises code as it runs (PEP 659). In a child that would begin anew for each client, and it
        writes to many pages that are still shared with the parent.
        """
        slot, limited = self.board.take(), self._session  # a slot never given back, so never shown
        self._session = Session(Limits(None, None))  # the timer of a lifetime would be the daemon's
        for _ in range(REHEARSALS):
            ours, theirs = socket.socketpair()
            theirs.send(b"echo")
            theirs.shutdown(socket.SHUT_WR)
            fd = ours.fileno()
            self._serve(fd, slot, fd, fd + 1)  # closes nothing: both ranges are empty
            theirs.close()
            ours.close()
        self.signals.session, self._session = None, limited

    def reap(self) -> list[str]:
        """Collect all who are dead, log them, and return their peers: SIGCHLDs coalesce, one may stand for many."""
        self.book()
        gone: list[str] = []
        table, log = self.table, self.log
        while table:
            try:
                pid, status = waitpid(-1, WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid not in table:
                continue  # it was a child before the server was executed in its place
            slot, peer = table.pop(pid)
            if log.debugging:
                log.debug(f"waitpid child={pid} status={status:#06x} peer={peer}; slot={slot} is free")
            gone.append(peer)
            received, sent, milliseconds = self.board.leave(slot)
            if log.clients:
                reason = reason_of(status) if status else "eof"
                log.line(INFO, CLOSE % (peer, pid, reason, received, sent, milliseconds // 1000, milliseconds % 1000))
        return gone

    def peers(self) -> list[str]:
        """Return the peers of all clients."""
        self.book()
        return [peer for _, peer in self.table.values()]

    def send(self, signum: int) -> None:
        """Signal every child. None of these pids can be a stranger's: they have not been waited for."""
        for pid in self.table:
            os.kill(pid, signum)

    def kill(self) -> None:
        """End every child at once."""
        self.send(signal.SIGKILL)


def reason_of(status: int) -> str:
    """Tell from a wait status how a session ended."""
    if os.WIFSIGNALED(status):
        return f"signal={name(os.WTERMSIG(status))}"
    code = os.WEXITSTATUS(status)
    if code < len(REASONS):
        return REASONS[code]
    number = code - ERRNO
    return f"error={errno.errorcode.get(number, number)}"
