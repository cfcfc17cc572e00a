"""The children, one a client: spawn, reap, signal. The only place that forks.

A child is entered in the table before anyone can reap it, never returns from `spawn`, and keeps no descriptor but its
connection and 0 to 2.
"""

from __future__ import annotations

import errno

from echod import session
from echod.lean import os, signal
from echod.session import Limits, Session
from echod.signals import Blocked, name, restore_in_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from echod.log import Log
    from echod.scoreboard import Scoreboard

REASONS = ("eof", "error=CRASHED", "reset", "idle", "lifetime", "drain")
HIGHEST_FD = 0x7FFFFFFF


class Child:
    """What the parent knows of a client: its address, as a host and as text, and its slot on the scoreboard."""

    __slots__ = ("host", "peer", "slot")

    def __init__(self, host: str, peer: str, slot: int) -> None:
        self.host = host
        self.peer = peer
        self.slot = slot


class Children:
    """The table of children by pid. `limits` are those of the next child."""

    def __init__(self, board: Scoreboard, limits: Limits) -> None:
        self.board = board
        self.limits = limits
        self.table: dict[int, Child] = {}

    def spawn(self, fd: int, host: str, peer: str, log: Log) -> None:
        """Fork a child that serves the connection `fd`, which is closed here. Raises OSError when fork does."""
        slot = self.board.claim(peer)
        try:
            with Blocked():  # or the child's first signal is written into our pipe
                pid = os.fork()
                if pid == 0:
                    reason = session.CRASHED
                    try:
                        reason = self._serve(fd, slot, log)
                    finally:
                        os._exit(reason)  # noqa: SLF001 - a child never returns: no atexit, nothing buffered written twice
                self.table[pid] = Child(host, peer, slot)
                self.board.enter(slot, pid)
        except OSError:
            self.board.abandon(slot)
            raise
        finally:
            os.close(fd)
        if log.debugging:
            log.debug(f"fork child={pid} peer={peer} slot={slot} clients={len(self.table)}; the parent closed fd={fd}")

    def _serve(self, fd: int, slot: int, log: Log) -> int:
        """Be the child: signals of its own, no descriptor but its own, then the session."""
        client = Session(fd, self.limits, self.board.tally(slot))
        restore_in_child(client.end)
        if log.debugging:
            log.debug(f"child keeps fd={fd} and closes all others above 2: listeners, signal pipe, pid file, log")
        os.closerange(3, fd)
        os.closerange(fd + 1, HIGHEST_FD)
        return client.run()

    def reap(self) -> Iterator[tuple[int, Child, str]]:
        """Collect all who are dead, and yield `(pid, child, reason)`: SIGCHLDs coalesce, one may stand for many."""
        while self.table:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self.table.pop(pid, None)
            if child is not None:  # or it was a child before the server was executed in its place
                yield pid, child, reason_of(status)

    def signal(self, signum: int) -> None:
        """Signal every child. None of these pids can be a stranger's: they have not been waited for."""
        for pid in self.table:
            os.kill(pid, signum)

    def kill(self) -> None:
        """End every child at once."""
        self.signal(signal.SIGKILL)


def reason_of(status: int) -> str:
    """Tell from a wait status how a session ended."""
    if os.WIFSIGNALED(status):
        return f"signal={name(os.WTERMSIG(status))}"
    code = os.WEXITSTATUS(status)
    if code < len(REASONS):
        return REASONS[code]
    number = code - session.ERRNO
    return f"error={errno.errorcode.get(number, number)}"
