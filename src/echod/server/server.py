"""The server: one loop over the listeners and the signal pipe. It accepts, forks and reaps; it never touches a byte.

Signals come before clients: a stop is never starved. A time-out exists only where there is a deadline, so an idle
server makes no system call.
"""

from __future__ import annotations

import select
import time

from echod.common import scoreboard
from echod.common.cmodules import os, signal
from echod.common.reasons import signal_name
from echod.server import reload
from echod.server.acceptor import FOREVER, Acceptor
from echod.server.children import BATCH, Children
from echod.server.session import Limits
from echod.server.signals import SignalPipe

SIGTERM, SIGQUIT, SIGINT = signal.SIGTERM, signal.SIGQUIT, signal.SIGINT
SIGHUP, SIGUSR1, read = signal.SIGHUP, signal.SIGUSR1, os.read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.common.config.settings import Config
    from echod.common.handover import Handover
    from echod.common.scoreboard import Scoreboard
    from echod.common.sockets import Listener
    from echod.server.log.log import Log
    from echod.server.notify import Notify

# The books and the dead wait for a lull, while clients come
LULL = 5  # milliseconds
REPEAT = 0.25  # seconds between the SIGTERMs of a drain: one may land before the system call it is to interrupt


class Server:
    """The daemon's one state: what is in force, who is being served, and whether it is about to stop."""

    def __init__(
        self,
        handover: Handover,
        config: Config,
        listeners: list[Listener],
        board: Scoreboard,
        log: Log,
        notify: Notify,
    ) -> None:
        self.handover, self.config, self.board, self.log, self.notify = handover, config, board, log, notify
        self.signals = SignalPipe()
        self.poller = select.poll()
        self.poller.register(self.signals.fd, select.POLLIN)  # first, so it is the first that poll returns
        self.children = Children(board, self.signals, log)
        self.children.set_limits(Limits(config.max_lifetime, config.drain_timeout))
        self.children.rehearse()
        self.signals.open()
        self.acceptor = Acceptor(config, listeners, self.children, self.poller, log, self.schedule)
        self.draining = False
        self.repeat_at = self.kill_at = FOREVER
        self.due: float | None = None
        self.outcome: tuple[str, ...] = ("ok",)  # of the last reload
        reload.publish(self, "ok")

    def run(self) -> None:
        """Serve until a drain has ended: the only loop."""
        self.board.words[scoreboard.STATE] = scoreboard.RUNNING
        self.log.info(f"ready listen={reload.names(self)} max_children={self.config.max_children}")
        poll, acceptor, children, signals, rounds = self.poller.poll, self.acceptor, self.children, self.signals, 0
        while not (self.draining and not children.table):
            if signals.came and self.on_signals():
                continue  # it may be over
            waiting = signals.dead or not signals.heeded
            ready = poll(LULL if waiting else None if self.due is None else self.left())
            for fd, _event in ready:
                if fd == signals.fd:
                    read(fd, 4096)
                elif fd in acceptor.listeners and acceptor.polling and not signals.noted:  # or that changed meanwhile
                    acceptor.admit(acceptor.listeners[fd])
            rounds += 1
            lull = acceptor.eager or (waiting and not ready)
            if lull:
                signals.heed(deaths=True)  # first: whoever dies after the reaping makes the pipe readable
            if lull or not children.spare or rounds >= BATCH:  # who is turned away needs no slot, and may leave no lull
                rounds = 0
                self.keep_books()
            if self.due is not None:
                self.tick(time.monotonic())

    def keep_books(self) -> None:
        """Enter the young, reap the dead, and let others in. Signals come first, also in the narrative of `debug`."""
        if self.signals.came:
            self.on_signals()
        self.signals.dead = False
        self.acceptor.make_room(self.children.reap())

    def left(self) -> float:
        """Return the milliseconds until something is due, for poll(2)."""
        return max(0.0, ((self.due or 0.0) - time.monotonic()) * 1000)

    def schedule(self) -> None:
        """Find out when something is due next. After whatever sets a deadline."""
        due = min(self.acceptor.resume_at, self.repeat_at, self.kill_at, self.log.due)
        self.due = None if due == FOREVER else due

    def tick(self, now: float) -> None:
        """Do what is due."""
        if now >= self.log.due:
            self.log.flush(now)
        if now >= self.acceptor.resume_at:
            self.acceptor.resume_at = FOREVER
            self.acceptor.settle()
        if now >= self.kill_at:
            self.log.warning(f"drain killed={len(self.children.table)}")
            self.children.kill()
            self.kill_at = self.repeat_at = FOREVER
        elif now >= self.repeat_at:
            self.children.send(SIGTERM)
            self.repeat_at = now + REPEAT
        self.schedule()

    def on_signals(self) -> bool:
        """Act on the signals that have come, a stop first; False when none had. The dead are left to the loop."""
        self.signals.came = False
        noted = self.signals.noted.copy()
        self.signals.noted -= noted
        if self.log.debugging:
            came = noted | {signal.SIGCHLD} if self.signals.dead else noted
            self.log.debug(f"signals noted={','.join(map(signal_name, came))}")
        if SIGINT in noted:
            self.stop(0.0)
        elif noted & {SIGTERM, SIGQUIT}:
            self.stop(0.0 if self.draining else self.config.drain_timeout)
        if SIGHUP in noted:
            reload.reload(self)
        if SIGUSR1 in noted:
            reload.reopen(self)
        return bool(noted)

    def stop(self, timeout: float | None) -> None:
        """Stop listening and drain the clients for `timeout` seconds (None: as long as it takes), then end them."""
        now = time.monotonic()
        self.kill_at = FOREVER if timeout is None else now + timeout
        if not self.draining:
            self.draining = True
            self.acceptor.close()
            self.board.words[scoreboard.STATE] = scoreboard.DRAINING
            self.notify.stopping()
            self.log.info(f"drain clients={len(self.children.table)}")
        if timeout == 0:
            self.children.kill()
        else:
            self.children.send(SIGTERM)
            self.repeat_at = now + REPEAT
        self.schedule()
