"""The server: one loop over the listeners and the signal pipe. It accepts, forks and reaps; it never touches a byte.

    STARTING ── ready ──▶ RUNNING ── SIGTERM, SIGQUIT, SIGINT ──▶ DRAINING ── the last child is reaped ──▶ the end

Signals come before clients: a stop is never starved. A time-out exists only where there is a deadline, so an idle
server makes no system call.
"""

from __future__ import annotations

import select
import time

from echod.common import scoreboard
from echod.common.cmodules import os, signal
from echod.common.errors import DONE, FAILED, EchodError
from echod.common.scoreboard import DRAINING, STARTING
from echod.common.signals_table import signal_name
from echod.log.log import DEBUG
from echod.server import reload
from echod.server.acceptor import Acceptor
from echod.server.board import outcomes, publish
from echod.server.children import Children
from echod.server.ending import Drain
from echod.server.failures import attempt, pause, reason
from echod.server.lean.warm_up import warm_up
from echod.server.process import SCORE_FILE, highest_fd
from echod.server.reading import Reader, Reading
from echod.server.signals import SignalPipe
from echod.server.successor import adopt_children
from echod.server.upgrade import Upgrade

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from echod.common.launch import Launch
    from echod.common.succession import Succession
    from echod.log.log import Log
    from echod.server.board import Board
    from echod.server.manager import Manager
    from echod.server.process import OomScore
    from echod.server.reload import Change

LONGEST_MS = 2.0**31 - 1  # that poll(2) takes
QUIET_MS = 5  # without a client, before exited children are reaped
FOREVER = float("inf")
NO_ROOM = "the answer has no room on the disk of the scoreboard; the log has it"


class Server:
    """The daemon: what is in force, who is being served, and its `state`."""

    def __init__(  # noqa: PLR0913 - what `main` has opened
        self,
        launch: Launch,
        before: Succession,
        first: Change,
        log: Log,
        board: Board,
        *,
        manager: Manager,
        oom: OomScore,
    ) -> None:
        """Apply the first settings, and unblock signals. After a start `before` is empty. Raises OSError."""
        self.launch, self.config, self.log, self.board, self.manager = launch, first.config, log, board, manager
        manager.log = log
        self.state = STARTING
        self.signals = SignalPipe()
        self.poller = select.poll()
        self.poller.register(self.signals.fd, select.POLLIN)  # first, so it is the first that poll returns
        self.children = Children(board, self.signals, first.config, log)
        if not oom.is_inherited:
            self.children.score, self.children.score_file = oom.raised, SCORE_FILE
        adopt_children(self.children, before)
        if (place := warm_up(self.children, first.config, board)) and not before.version:
            raise EchodError(f"cannot serve: a session ends at {place}; this is a bug in echod, please report it")
        if place:  # after an upgrade there is no way back
            log.error(f"crash child=0 at={place!r}")
        self.acceptor = Acceptor(board, self.children, self.poller, oom, log)
        self.drain = Drain(self.children)
        parts = board, self.signals, self.children, self.acceptor
        self.upgrade = Upgrade(launch, *parts, oom_fd=oom.fd, answer=self.answer)
        self.reader = Reader(launch, log)
        self.outcomes = outcomes(board)
        self.apply(first)
        self.signals.open()

    def run(self) -> None:
        """Serve until a drain has ended: the only loop.

        1. Signals are acted on before clients are accepted, so a stop waits for no client.
        2. While children are watched, the loop sleeps until a client comes, a signal comes, or something is due.
        3. Accepting the first client of a burst ends the watch, since SIGCHLD must not disturb the forks that follow.
        4. After 5 ms without a client, or after `reap_after` clients, the loop watches again, and then reaps: a child
           that exits after that wakes it.
        5. What is due is done after each reaping, and whenever its time has come.
        """
        self.log.info(f"ready listen={self.names()} max_children={self.config.max_children}")
        signals, children, acceptor, accepted = self.signals, self.children, self.acceptor, 0
        while self.state != DRAINING or children.table:
            if signals.pending:
                self.process_signals()
                continue
            ready = self.wait()
            for fd, _event in ready:
                if fd == signals.fd:
                    attempt(self.log, "read", os.read, fd, 4096)
                elif acceptor.is_polled and not signals.pending:  # both may have changed since poll(2) returned
                    accepted += acceptor.accept(acceptor.listeners[fd])
            if not ready or accepted >= acceptor.reap_after:
                accepted = 0
                if not children.watched:
                    self.reap()
                self.tick()

    def wait(self) -> list[tuple[int, int]]:
        """Wait for clients and signals: until something is due or, while children are not watched, for QUIET_MS."""
        try:
            return self.poller.poll(self.timeout() if self.children.watched else QUIET_MS)
        except (OSError, MemoryError) as error:
            return pause(self.log, "poll", error)

    def reap(self) -> None:
        """Reap the exited children, accept again if that has made room, and go on with an upgrade and a reload."""
        addresses, others = self.children.reap()
        self.acceptor.on_reaped(addresses)
        self.upgrade.on_reaped(others)
        reading = self.reader.take(others)
        if reading:
            self.end_reload(reading)

    def timeout(self) -> float | None:
        """Return the milliseconds that poll(2) may wait, or None."""
        return None if self._due() == FOREVER else min(LONGEST_MS, max(0.0, (self._due() - time.monotonic()) * 1000))

    def _due(self) -> float:
        upgrade = FOREVER if self.reader.pid else self.upgrade.due
        return min(self.acceptor.resume_at, self.drain.due, upgrade, self.log.due(), self.manager.due)

    def tick(self) -> None:
        """Do what is due."""
        if self._due() <= (now := time.monotonic()):
            self.log.flush(now)
            self.acceptor.resume(now)
            self.drain.tick(now)
        if not self.reader.pid:  # or the next version would not answer the reload
            self.upgrade.tick(now)
        self.manager.tick(now, len(self.children.table))

    def process_signals(self) -> None:
        """Act on the signals that are pending, a stop first. See signals_table.HANDLED."""
        pending = self.signals.take()
        if self.log.level == DEBUG:
            self.log.debug(f"signals pending={','.join(map(signal_name, sorted(pending)))}")
        if signal.SIGINT in pending:
            self.stop(0.0)
        elif pending & {signal.SIGTERM, signal.SIGQUIT}:
            self.stop(0.0 if self.state == DRAINING else self.config.drain_timeout)
        requests = (signal.SIGHUP, self.reload), (signal.SIGUSR1, self.reopen), (signal.SIGUSR2, self.upgrade.begin)
        for signum, act in requests:
            if signum in pending:
                attempt(self.log, act.__name__, act)
        if signal.SIGCHLD in pending:
            self.reap()
            self.tick()

    def stop(self, timeout: float | None) -> None:
        """Stop accepting and drain the clients for `timeout` seconds (None: as long as it takes), then end them."""
        if self.state != DRAINING:
            self.set_state(DRAINING)  # first: a second `echod stop` sees it, and then only waits
            self.manager.stopping()
            self.upgrade.close("the daemon is about to stop")
            self.reader.kill()
            self.acceptor.close()
            self.publish()
            self.log.info(f"drain clients={len(self.children.table)}")
        self.drain.begin(timeout)
        self.manager.stopping_takes(timeout)

    def set_state(self, state: int) -> None:
        """Change the state, and publish it: the only place."""
        self.state = state
        self.publish()
        self.board.words[scoreboard.STATE] = state  # last: a reader that sees it finds the rest published

    def reload(self) -> None:
        """Act on SIGHUP: let a child read. While one reads, another reload is left for the time after it."""
        if self.reader.pid:
            self.reader.again = True
            return
        self.board.words[scoreboard.RELOADS_BEGUN] += 1
        self.manager.reloading()
        if self.state == DRAINING:
            self.end_reload(Reading())
            return
        try:
            self.reader.begin(self.config)
        except EchodError as error:
            self.end_reload(Reading(code=error.code, why=str(error)))

    def end_reload(self, reading: Reading) -> None:
        """Apply what a child has read: all of the new settings take effect, or none."""
        code, text = DONE, ["ok"]
        try:
            if self.state == DRAINING:
                raise EchodError("the daemon is about to stop")
            change = reload.prepare(reading, self.launch, self.config, self.acceptor.all(), self.log.sink, self.board)
        except EchodError as error:
            code, text = error.code, [str(error)]
        else:
            self.apply(change)
            self.board.words[scoreboard.GENERATION] += 1
            text += change.text
        self.answer(scoreboard.RELOADS_BEGUN, code, last_reload=text[0], changes=text[1:])
        self.manager.ready("draining" if self.state == DRAINING else f"serving on {self.names()}")
        if code:
            self.log.error(f"error call=reload why={text[0]!r}")
        else:
            changed, generation = "; ".join(text[1:]) or "nothing", self.board.words[scoreboard.GENERATION]
            self.log.info(f"reload {generation=} {changed=}")
        if self.reader.again:
            self.reader.again = False
            self.reload()

    def apply(self, change: Change) -> None:
        """Apply a change. Nothing here can fail: a call that may fail is attempted."""
        attempt(self.log, "close", self.log.configure, change.config, change.sink)
        self.config = change.config
        self.upgrade.config = change.config
        self.children.configure(change.config)
        self.children.highest_fd = highest_fd()
        self.acceptor.configure(change.config, change.listeners)

    def reopen(self) -> None:
        """Act on SIGUSR1: open the log file again, after rotation."""
        self.board.words[scoreboard.REOPENS_BEGUN] += 1
        code, text = DONE, "ok"
        try:
            self.log.reopen()
        except (OSError, MemoryError) as error:
            code, text = FAILED, f"cannot open the log: {reason(error)}"
            self.log.error(f"error call=reopen why={text!r}")
        self.answer(scoreboard.REOPENS_BEGUN, code, reopen=text)

    def names(self) -> str:
        """Return where the server listens, as text."""
        return ",".join(listener.name for listener in self.acceptor.all())

    def publish(self) -> bool:
        """Write to the scoreboard what is in effect; return False if the disk has no room for the texts."""
        names = [listener.name for listener in self.acceptor.all()]
        return attempt(self.log, "pwrite", publish, self.board, self.config, self.launch, names, self.outcomes)

    def answer(self, begun: int, code: int, **outcomes: str | Sequence[str]) -> None:
        """Say on the scoreboard how a request ended: its exit code and texts; see `Board.answer`."""
        self.outcomes |= outcomes
        if not self.publish():  # a short answer has its room
            self.outcomes |= {key: NO_ROOM if isinstance(text, str) else () for key, text in outcomes.items()}
            self.publish()
        self.board.answer(begun, code)
