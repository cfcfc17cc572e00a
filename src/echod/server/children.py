"""The children, one a client: spawn, reap, signal. The only place that forks.

A child is entered in the table before anyone can reap it, never returns from `spawn`, and keeps no descriptor but its
connection and 0 to 2. What a client costs is above all the pages that it or its parent writes to while both have them:
each is copied. So a child is given nothing that was not there before, its code has been rehearsed by the parent, and
the parent keeps its books, scoreboard and log, for many clients at once: `spawn` does not write to them.
"""

from __future__ import annotations

from _thread import allocate_lock

from echod.common.cmodules import os, signal, socket
from echod.common.config.values import write_address
from echod.common.errors import ForkError
from echod.common.reasons import CRASHED, reason_of
from echod.common.scoreboard import ENDED, monotonic_ns
from echod.server.log.log import INFO
from echod.server.session import Limits, Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from echod.common.scoreboard import Scoreboard
    from echod.common.sockets import Accept
    from echod.server.log.log import Log
    from echod.server.signals import SignalPipe

    TurnAway = Callable[[int, tuple[Any, ...]], bool]  # a connection and its peer

HIGHEST_FD = 0x7FFFFFFF
REHEARSALS = 100
LOCKS, FORK_LOCKS = 100, 7
BATCH = 16  # clients between two looks at the books: many at once are cheaper than one by one
CLOSE = "close peer=%s child=%d reason=%s in=%d out=%d secs=%d.%03d"
# names of our own: one object less to touch than with the module's name before them, in the parent and in each child
WNOHANG = os.WNOHANG
fork, close, closerange, waitpid, _exit = os.fork, os.close, os.closerange, os.waitpid, os._exit  # noqa: SLF001
set_wakeup_fd = signal.set_wakeup_fd


class Children:
    """The table: by pid, the slot of each child on the scoreboard, and its peer as accept(2) gave it, or as text.

    `spare` are slots taken in advance: so many clients may come until the books are kept. All are there: none is young.
    """

    __slots__ = ("_locks", "_session", "_words", "board", "log", "signals", "spare", "table")

    def __init__(self, board: Scoreboard, signals: SignalPipe, log: Log) -> None:
        self.board, self._words = board, board.words
        self.signals = signals
        self.log = log
        self.table: dict[int, tuple[int, Any]] = {}
        self.spare: list[int] = []
        self._session: Session
        self.book()

    def spawn(self, accept: Accept, most: int, turn_away: TurnAway | None = None) -> None:
        """Accept clients, at most `most` and one for each spare slot, and fork a child for each.

        `turn_away`, where there are rules or somebody to be told every step, closes the connection of a client that
        gets none. Raises ForkError, and the OSErrors of `accept`: what came before is done.
        """
        table, spare, signals = self.table, self.spare, self.signals
        if signals.heeded and not self.log.debugging:
            signals.heed(deaths=False)  # until the lull, in which the books are kept
        set_wakeup_fd(-1)  # while there may be forks: see `signals`
        try:
            while most and spare:
                most -= 1
                fd, address = accept()
                if turn_away is not None and turn_away(fd, address):
                    continue
                slot = spare.pop()
                try:
                    pid = fork()
                    if pid == 0:
                        reason = CRASHED
                        try:
                            if turn_away is not None:
                                self.log.debug(f"child keeps fd={fd}, closes listeners, pipe, log, pid file")
                            reason = self._serve(fd, slot, 3, HIGHEST_FD)
                        finally:
                            _exit(reason)  # a child never returns: no atexit, nothing buffered written twice
                    table[pid] = (slot, address)
                    if turn_away is not None:
                        self.log.debug(f"fork child={pid} slot={slot} clients={len(table)}; the parent closes fd={fd}")
                except OSError as error:
                    spare.append(slot)
                    raise ForkError(error, address) from error
                finally:
                    close(fd)
        finally:
            set_wakeup_fd(signals.write_end)

    def _serve(self, fd: int, slot: int, lowest: int, highest: int) -> int:
        """Be the child: signals are the session's, no descriptor but its own; then echo."""
        client = self.signals.session = self._session
        closerange(lowest, fd)
        closerange(fd + 1, highest)
        reason = client.run(fd, self._words, slot)
        self._words[slot + ENDED] = monotonic_ns()
        return reason

    def book(self) -> None:
        """Enter the youngest on the scoreboard, and take slots for those to come."""
        table, spare, board = self.table, self.spare, self.board
        for pid, (slot, address) in reversed(table.items()):
            if type(address) is str:
                break
            peer = write_address(address)
            table[pid] = (slot, peer)
            board.enter(slot, pid, peer)
        while len(spare) < BATCH:
            spare.append(board.take())

    def set_limits(self, limits: Limits) -> None:
        """Set the limits of the children to come."""
        self._session = Session(limits)

    def rehearse(self) -> None:
        """Serve a few bytes to ourselves, before there is a client and while signals are blocked. Raises OSError.

        The interpreter specialises code as it runs (PEP 659). In a child that would begin anew for each client, and it
        writes to many pages that are still shared with the parent.
        """
        slot, limited = self.spare[0], self._session
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
        self.board.wipe(slot)
        # A fork renews six locks in the child, out of the blocks of memory freed last: have these lie side by side.
        self._locks = [allocate_lock() for _ in range(LOCKS)]
        del self._locks[-FORK_LOCKS:]

    def reap(self) -> list[str]:
        """Collect all who are dead, log them, and return their peers: SIGCHLDs coalesce, one may stand for many."""
        self.book()
        gone: list[str] = []
        lines: list[str] = []
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
            gone.append(peer)
            received, sent, milliseconds = self.board.leave(slot)
            if log.debugging:
                log.debug(f"waitpid child={pid} status={status:#06x} peer={peer}; slot={slot} is free")
            if log.clients:
                reason = reason_of(status) if status else "eof"
                lines.append(CLOSE % (peer, pid, reason, received, sent, milliseconds // 1000, milliseconds % 1000))
            if len(lines) == BATCH:
                log.lines(INFO, lines)
                lines.clear()
        if lines:
            log.lines(INFO, lines)
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
