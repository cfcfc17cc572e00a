"""The children, one a client: spawn, record, reap, signal. The only place that forks.

    SPAWNED ──record──▶ RECORDED ──waitpid──▶ EXITED
    in the table      on the scoreboard      counted, logged, out of the table

A child is in the table before anyone can reap it, never returns from `spawn`, and keeps no descriptor but its
connection and 0 to 2. What a client costs is above all the pages that it or its parent writes to while both have them:
each is copied. So a child is given nothing that was not there before, and many are recorded and reaped at once.
"""

from __future__ import annotations

from echod.common.cmodules import os
from echod.common.config.addresses import write_address
from echod.common.errors import place_of
from echod.common.reasons import CRASHED, reason_of
from echod.common.scoreboard import BEGUN, ENDED, MAX_CHILDREN, TOP
from echod.server.failures import attempt
from echod.server.log.clients import describe
from echod.server.log.log import DEBUG, INFO
from echod.server.session import Limits, Session, monotonic_ns
from echod.server.sessions import make_session
from echod.server.warm_up import begin_pools, free_reserved, serve_ourselves

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from echod.common.config.settings import Config
    from echod.server.board import Board
    from echod.server.log.log import Log
    from echod.server.signals import SignalPipe

    Fork = Callable[[], int]
    Leave = Callable[[int], object]

SPAWNED, RECORDED, EXITED = range(3)
BATCH, SLOTS = 64, 16  # clients that are recorded and reaped at once; slots that are taken at once
closerange, _exit = os.closerange, os._exit  # noqa: SLF001 - names for the way of a client: see `session`


class Child:
    """The process of a client, or of none yet: a slot of the scoreboard is always the same Child's.

    `peer` is text, made of the `address` when it is recorded; where it is `named` (1) its child may change it: `proxy`.
    """

    __slots__ = ("address", "named", "peer", "slot", "state")

    def __init__(self, slot: int) -> None:
        self.slot, self.state, self.peer, self.named = slot, EXITED, "", 0
        self.address: tuple[Any, ...] = ()


class Children:
    """All children that have not been reaped, by pid. Each closes what it inherits, up to `highest_fd`."""

    __slots__ = (
        "_board", "_free", "_kept", "_named", "_session", "_words", "highest_fd", "log", "may_have_exited",
        "others", "signals", "table",
    )  # fmt: skip

    def __init__(self, board: Board, signals: SignalPipe, config: Config, log: Log) -> None:
        self._board, self._words, self.signals, self.highest_fd = board, board.words, signals, 0
        self.table: dict[int, Child] = {}
        self._free: list[Child] = []  # the one freed last is taken first: its pages are warm
        self.may_have_exited = False  # who has not been told of by SIGCHLD
        self.others: dict[int, int | None] = {}  # who is no client's, and is waited for: the wait status
        self.configure(config, log)

    def configure(self, config: Config, log: Log) -> None:
        """Put settings in force, for the children to come, and a log."""
        self._session, self._named, self.log = make_session(config, self._board), int(config.proxy_from != ()), log
        self.signals.session = self._session

    def begin_burst(self) -> None:
        """Leave SIGCHLD at its default action until the next reaping: see `SignalPipe.set_waking`."""
        self.signals.set_waking(False)
        self.may_have_exited = True

    def spawn(
        self, fd: int, address: tuple[Any, ...], fork: Fork = os.fork, leave: Leave = _exit, lowest: int = 3
    ) -> int:
        """Fork a child for a connection that the caller closes; returns its pid. Raises OSError.

        The child has no descriptor but its own, from `lowest` on (UNP 4.8), and signals are its session's. The warm-up
        gives a `fork` that forks nothing and a `leave` that returns, and does the child's part itself.
        """
        child = (self._free or self._add_slots()).pop()
        slot = child.slot
        if self._named:  # now: later it would overwrite what the child writes
            self._board.write_text(slot, write_address(address))
        try:
            pid = fork()
        except (OSError, MemoryError):
            self._board.clear(slot)
            self._free.append(child)
            raise
        if pid == 0:
            reason = CRASHED
            try:
                session = self._session
                session.fd = fd  # from now on signals are its
                closerange(lowest, fd)
                closerange(fd + 1, self.highest_fd + 1)
                reason = session.run(fd, self._words, slot)
                self._words[slot + ENDED] = monotonic_ns()
            except BaseException as error:  # noqa: BLE001 - a child has no log: the parent tells
                self._board.write_text(slot, f"{type(error).__name__} {place_of(error)[-40:]}")
            finally:
                leave(reason)  # a child never returns: nothing buffered is written twice (TLPI 25.4)
            return 0  # to the warm-up
        child.state, child.address, child.named = SPAWNED, address, self._named
        self.table[pid] = child
        if self.log.level == DEBUG:
            self.log.debug(f"fork child={pid}, which keeps fd={fd} alone; the parent closes its copy")
        return pid

    def _add_slots(self) -> list[Child]:
        """Take some more, the lowest first: taken one by one they would lie apart, each on pages of its own."""
        for _ in range(max(1, min(SLOTS, self._words[MAX_CHILDREN] - self._words[TOP]))):
            self._free.insert(0, Child(self._board.take()))
        return self._free

    def warm_up(self) -> None:
        """Do a child's part in this process, before there is a client: see `serve_ourselves`. Raises OSError."""
        self._kept = begin_pools()
        child, session, highest = self._add_slots()[-1], self._session, self.highest_fd
        self._session = Session(Limits(None, None, self._board.drain_timeout))  # a timer would be the daemon's
        self.highest_fd = 0  # it closes nothing: both ranges are empty

        def serve(fd: int) -> None:
            self.spawn(fd, ("", 0), lambda: 0, os.WIFEXITED, fd)
            self._free.append(child)

        serve_ourselves(serve)
        self._session, self.highest_fd = session, highest
        self._board.clear(child.slot)
        free_reserved()

    def reap(self) -> list[tuple[Any, ...]]:
        """Collect who has exited: one SIGCHLD may stand for many (UNP 5.10, TLPI 26.3.1); return clients' addresses."""
        self.may_have_exited = False
        statuses: list[tuple[int, int]] = []
        try:
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                statuses.append(found)
        except OSError:  # none is left: ECHILD; or tried again
            self.may_have_exited = len(self.table) > len(statuses)
        self._board.begin()
        clients, begun = self._record()
        addresses, lines, ended = [], [], []
        for pid, status in statuses:
            if pid in self.table:
                address, line, moment = self._exit(pid, status)
                addresses.append(address)
                lines.append(line)
                ended.append(moment)
            elif pid in self.others:
                self.others[pid] = status
        self._board.raise_peak(clients, begun, ended)
        self._board.end()
        self.log.lines(INFO, lines)
        return addresses

    def _record(self) -> tuple[int, list[int]]:
        """Enter the newest on the scoreboard; returns how many were there before, and when these began."""
        begun: list[int] = []
        for pid, child in reversed(self.table.items()):
            if child.state != SPAWNED:
                break
            child.state, child.peer = RECORDED, write_address(child.address)
            self._board.record(child.slot, pid, "" if child.named else child.peer)
            begun.append(self._board.words[child.slot + BEGUN] or monotonic_ns())
        return len(self.table) - len(begun), begun

    def _exit(self, pid: int, status: int) -> tuple[tuple[Any, ...], str, int]:
        """Count a child out; returns its address, the line for the log or none, and when it ended."""
        child = self.table.pop(pid)
        child.state = EXITED
        self._free.append(child)
        if status == CRASHED << 8:
            self.log.error(f"crash child={pid} at={self._board.read_text(child.slot)!r}")
        elif child.named:
            child.peer = self._board.read_text(child.slot)
        received, sent, begun, ended = self._board.remove(child.slot)
        ended, reason = ended or monotonic_ns(), reason_of(status)
        if status:
            self._board.count_end(reason, child.peer)
        if self.log.level == DEBUG:
            self.log.debug(f"waitpid child={pid} status={status:#06x} peer={child.peer}; slot={child.slot} is free")
        line = describe(self.log, child.peer, pid, reason, (received, sent, (ended - (begun or ended)) / 1e9))
        address, child.address, child.peer = child.address, (), ""  # what is free lies side by side
        return address, line, ended

    def send(self, signum: int) -> None:
        """Signal every child. None of these pids can be another process's: they have not been waited for."""
        for pid in self.table:
            attempt(self.log, "kill", os.kill, pid, signum)
