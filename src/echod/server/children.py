"""The children, one per client: spawn, record, reap, signal. No other module forks for a client.

    FREE ──spawn──▶ SPAWNED ──record──▶ RECORDED ──reap──▶ FREE
                    in the table        on the scoreboard  counted, logged, out of the table

A child is in the table before it can be reaped, and it never returns from `spawn`. Of the descriptors that it inherits
it keeps its connection and 0 to 2.

`watched` says how the daemon learns that a child has exited. While children are watched, SIGCHLD wakes the loop. While
clients come one after another they are not watched: the loop waits for clients with a time-out instead, and then calls
`reap`, which records and reaps many children at once. So it is while many children exit, too.

waitpid(2) for any child walks the list of all children, the oldest first. With thousands of them that walk is most of
what a client costs. Those that exit are nearly always the newest, so these are asked for by pid, which takes no walk.
"""

from __future__ import annotations

from time import monotonic_ns

from echod.common.calls import _exit, close, closerange, fork, open_file, waitpid, write
from echod.common.cmodules import os, signal
from echod.common.config.addresses import write_address
from echod.common.errors import place_of
from echod.common.reasons import CRASHED, reason_of
from echod.common.scoreboard import BEGUN, ENDED
from echod.log.log import DEBUG, INFO, describe
from echod.server.failures import attempt
from echod.server.lean.slots import RECORDED, SPAWNED, Child, Slots
from echod.session.kinds import make_session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from echod.common.config.settings import Config
    from echod.log.log import Log
    from echod.server.board import Board
    from echod.server.signals import SignalPipe

    PeerAddress = tuple[Any, ...]  # in the format of accept(2)

O_WRONLY = os.O_WRONLY
BATCH_CLIENTS = 64  # after so many clients without a quiet moment, children are recorded and reaped
NEWEST_CHILDREN = (
    2 * BATCH_CLIENTS
)  # that are asked for by pid: those since the last `reap`, and what is left of before
MANY_CHILDREN = 1024  # with more, a walk through all of them costs more than to ask for the newest


class Children:
    """All children that have not been reaped, by pid. Each closes the descriptors up to `highest_fd` but its own."""

    __slots__ = (
        "_board", "_free", "_named", "_signals", "_slots", "highest_fd", "log", "score", "score_file", "session",
        "silent", "table", "watched",
    )  # fmt: skip

    def __init__(self, board: Board, signals: SignalPipe, config: Config, log: Log) -> None:
        self._board, self._signals, self._slots = board, signals, Slots(board)
        self._free = self._slots.free
        self.table: dict[int, Child] = {}
        self.highest_fd, self.log = 0, log
        self.score, self.score_file = b"", b""  # what each child writes about itself, and where: see `process.OomScore`
        self.silent = 0  # clients that have ended without sending a byte: the acceptor takes note and sets this to 0
        self.watched = False  # the loop reaps first: a previous version may have left exited children
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Apply settings to the children to come."""
        self.session, self._named = make_session(config, self._board), bool(config.proxy_from)
        self._signals.session = self.session

    def unwatch(self) -> None:
        """Let children exit unnoticed until the next `reap`. The caller must see to it that `reap` is called soon."""
        self._signals.watch_children(False)
        self.watched = False

    def spawn(self, fd: int, address: PeerAddress) -> int:
        """Fork a child for a connection, which the caller closes, and return its pid. Raises OSError, MemoryError."""
        child = (self._free or self._slots.add()).pop()
        if self._named:  # after the fork this would overwrite the name that the child writes
            self._board.write_text(child.slot, write_address(address))
        try:
            pid = fork()
        except (OSError, MemoryError):
            self._board.clear(child.slot)
            self._slots.give_back(child)
            raise
        if pid == 0:
            status = CRASHED
            try:
                status = self.serve(fd, child.slot)
            finally:
                _exit(status)  # a child that returned would flush the daemon's buffers again (TLPI 25.4)
        child.state, child.address, child.named = SPAWNED, address, self._named
        try:
            self.table[pid] = child
            if self.log.level == DEBUG:
                self.log.debug(f"fork child={pid}, which keeps fd={fd} alone; the parent closes its copy")
        except MemoryError:
            self._abandon(pid, child)
            raise
        return pid

    def _abandon(self, pid: int, child: Child) -> None:
        """End a child for which there was no memory. Otherwise no table would have it, and its slot would be lost."""
        attempt(self.log, "kill", os.kill, pid, signal.SIGKILL)
        attempt(self.log, "wait4", waitpid, pid, 0)  # it may write to its slot until then
        self.table.pop(pid, None)
        self._board.clear(child.slot)
        self._slots.give_back(child)

    def serve(self, fd: int, slot: int) -> int:
        """Be the child: close the descriptors of the daemon (UNP 4.8), echo, and return the exit status."""
        try:
            self.session.fd = fd  # from now on signals are the session's
            if self.score:
                try:
                    file = open_file(self.score_file, O_WRONLY)
                    write(file, self.score)
                    close(file)
                except OSError:
                    pass  # it is served anyway, and short of memory it is one of those that the kernel ends later
            closerange(3, fd)
            closerange(fd + 1, self.highest_fd + 1)
            reason = self.session.run(fd, self._board.words, slot)
            self._board.words[slot + ENDED] = monotonic_ns()
        except BaseException as error:  # noqa: BLE001 - a child has no log: the daemon logs this text
            self._board.write_text(slot, f"{type(error).__name__} {place_of(error)[-40:]}")
            return CRASHED
        return reason

    def forget(self, pid: int) -> None:
        """Remove a child from the table as if it had never been there: see `lean.warm_up`."""
        child = self.table.pop(pid)
        self._board.clear(child.slot)
        self._slots.give_back(child)

    def reap(self) -> tuple[list[PeerAddress], dict[int, int]]:
        """Record the new children, count out the exited ones, and return the addresses of their clients.

        Also return the wait statuses, by pid, of exited processes that served no client: the trial of an upgrade, or
        orphans of PID 1. One SIGCHLD may stand for many exits (UNP 5.10, TLPI 26.3.1). If waitpid(2) fails, children
        stay unwatched, so that the loop calls this again. So do many children of which some have exited: others are
        about to exit, and to walk through all children for each of them would take longer than their exits.
        """
        self.watched = self._signals.watch_children(True)  # first: a child that exits after waitpid(2) wakes the loop
        exited = self._wait()
        self._board.begin()
        before, begun = self._record()
        addresses, lines, ended, others = [], [], [], {}
        for pid, status in exited:
            if pid in self.table:
                address, line, moment = self._remove(pid, status)
                addresses.append(address)
                lines.append(line)
                ended.append(moment)
            else:
                others[pid] = status
        self._board.raise_peak(before, begun, ended)
        self._board.end()
        self.log.lines(INFO, lines)
        if exited and len(self.table) > MANY_CHILDREN:
            self.unwatch()
        return addresses, others

    def _wait(self) -> list[tuple[int, int]]:
        """Return the pid and the wait status of every child that has exited."""
        exited: list[tuple[int, int]] = []
        try:
            if len(self.table) > MANY_CHILDREN:
                for number, pid in enumerate(reversed(self.table)):
                    if number >= NEWEST_CHILDREN:
                        break
                    if (found := waitpid(pid, os.WNOHANG))[0]:
                        exited.append(found)
            while (found := waitpid(-1, os.WNOHANG))[0]:
                exited.append(found)
        except OSError:  # ECHILD: no child is left. After any other error the loop must try again.
            self.watched = self.watched and len(self.table) <= len(exited)
        return exited

    def _record(self) -> tuple[int, list[int]]:
        """Enter the new children on the scoreboard; return how many were there before, and when these began."""
        begun: list[int] = []
        for pid, child in reversed(self.table.items()):
            if child.state != SPAWNED:
                break
            child.state, child.peer = RECORDED, write_address(child.address)
            self._board.record(child.slot, pid, "" if child.named else child.peer)
            begun.append(self._board.words[child.slot + BEGUN] or monotonic_ns())
        return len(self.table) - len(begun), begun

    def _remove(self, pid: int, status: int) -> tuple[PeerAddress, str, int]:
        """Count out an exited child; return its client's address, its line for the log or "", and when it ended."""
        child = self.table.pop(pid)
        if status == CRASHED << 8:
            self.log.error(f"crash child={pid} at={self._board.read_text(child.slot)!r}")
        elif child.named:
            child.peer = self._board.read_text(child.slot)
        received, sent, begun, ended = self._board.remove(child.slot)
        if not received:
            self.silent += 1
        ended, reason = ended or monotonic_ns(), reason_of(status)
        if status:
            self._board.count_end(reason, child.peer)
        if self.log.level == DEBUG:
            self.log.debug(f"waitpid child={pid} status={status:#06x} peer={child.peer}; slot={child.slot} is free")
        line = describe(self.log, child.peer, pid, reason, (received, sent, (ended - (begun or ended)) / 1e9))
        address = child.address
        self._slots.give_back(child)
        return address, line, ended

    def send(self, signum: int) -> None:
        """Signal every child. The pids cannot be those of other processes, since no child in the table was reaped."""
        for pid in self.table:
            attempt(self.log, "kill", os.kill, pid, signum)
