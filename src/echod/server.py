"""The server: one loop over the listeners and the signal pipe. It accepts, forks and reaps; it never touches a byte.

Signals come before clients: a stop is never starved. A time-out exists only where there is a deadline, so an idle
server makes no system call. The cap on children is "do not poll the listeners".
"""

from __future__ import annotations

import select
import time

from echod import log as levels
from echod import reload, scoreboard
from echod.admission import Admission
from echod.children import Children
from echod.lean import os, signal
from echod.listener import Listener, client_gone
from echod.session import Limits
from echod.signals import SignalPipe
from echod.values import host_of, write_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.config import Config
    from echod.handover import Handover
    from echod.log import Log
    from echod.notify import Notify
    from echod.scoreboard import Scoreboard

FOREVER = float("inf")
IPV4 = 2  # parts of an IPv4 socket address: host and port
PAUSE = 0.1  # seconds without accepting when the system is out of something
REPEAT = 0.25  # seconds between the SIGTERMs of a drain: one may land before the system call it is to interrupt
OVER_LIMIT, FORK_FAILED = "over_limit", "fork_failed"


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
        self.listeners = {listener.fd: listener for listener in listeners}
        self.signals = SignalPipe()
        self.children = Children(board, self.signals, log)
        self.children.set_limits(Limits(config.max_lifetime, config.drain_timeout))
        self.admission = Admission(config)
        self.poller = select.poll()
        self.poller.register(self.signals.fd, select.POLLIN)  # first, so it is the first that poll returns
        self.polling = self.draining = False
        self.outcome: tuple[str, ...] = ("ok",)  # of the last reload
        self.resume_at = self.repeat_at = self.kill_at = FOREVER
        reload.publish(self, "ok")
        self.settle()

    def run(self) -> None:
        """Serve until a drain has ended: the only loop."""
        self.board.words[scoreboard.STATE] = scoreboard.RUNNING
        self.log.info(f"ready listen={reload.names(self)} max_children={self.config.max_children}")
        while not (self.draining and not self.children.table):
            due = min(self.resume_at, self.repeat_at, self.kill_at, self.log.due)
            for fd, _event in self.poller.poll(self.until(due)):
                if fd == self.signals.fd:
                    self.dispatch(self.signals.drain())
                    break  # poll again: the listeners may have changed
                if self.polling:  # or the one before has taken the last place
                    self.admit(self.listeners[fd])
            if due != FOREVER:
                self.tick(time.monotonic())

    @staticmethod
    def until(due: float) -> float | None:
        """Return the milliseconds left to a moment, for poll(2)."""
        return None if due == FOREVER else max(0.0, (due - time.monotonic()) * 1000)

    def tick(self, now: float) -> None:
        """Do what is due."""
        if now >= self.log.due:
            self.log.flush(now)
        if now >= self.resume_at:
            self.resume_at = FOREVER
            self.settle()
        if now >= self.kill_at:
            self.log.warning(f"drain killed={len(self.children.table)}")
            self.children.kill()
            self.kill_at = self.repeat_at = FOREVER
        elif now >= self.repeat_at:
            self.children.send(signal.SIGTERM)
            self.repeat_at = now + REPEAT

    # clients

    def settle(self) -> None:
        """Poll the listeners while there is room for a client, and only then."""
        room = len(self.children.table) < self.config.max_children or self.config.over_limit == "refuse"
        wanted = room and not self.draining and self.resume_at == FOREVER
        if wanted != self.polling:
            self.polling = wanted
            for fd in self.listeners:
                if wanted:
                    self.poller.register(fd, select.POLLIN)
                else:
                    self.poller.unregister(fd)

    def empty(self, listener: Listener) -> None:
        """Serve those who wait in the backlog of a listener that is about to close, as far as there is room."""
        while len(self.children.table) < self.config.max_children and self.admit(listener):
            pass

    def admit(self, listener: Listener) -> bool:
        """Accept one client, and refuse it or give it a child; False when there was none."""
        try:
            fd, address = listener.accept()
        except OSError as error:
            if not client_gone(error):
                self.pause(f"accept error={error.strerror!r}")
            return False
        peer = f"{address[0]}:{address[1]}" if len(address) == IPV4 else write_address(address)
        if self.log.debugging:
            self.log.debug(f"accept peer={peer} fd={fd} listener={listener.name}")
        reason = OVER_LIMIT if len(self.children.table) >= self.config.max_children else ""
        if not self.admission.open:
            reason = self.admission.refusal(address[0]) or reason
        if reason:
            os.close(fd)
            self.refuse(peer, reason)
            return True
        try:
            self.children.spawn(fd, peer)
        except OSError as error:
            self.refuse(peer, FORK_FAILED)
            self.pause(f"fork error={error.strerror!r}")
            return False
        if self.admission.limit:
            self.admission.enter(address[0])
        if len(self.children.table) >= self.config.max_children:
            self.settle()
        return True

    def refuse(self, peer: str, reason: str) -> None:
        """Count and log a client that was closed unserved."""
        self.board.words[scoreboard.REFUSALS[reason]] += 1
        self.log.limited(levels.INFO, reason, f"refuse peer={peer} reason={reason}")

    def pause(self, text: str) -> None:
        """Stop accepting for a moment: what is missing now, a descriptor or memory, may be there then."""
        self.log.limited(levels.WARNING, text, text)
        self.resume_at = time.monotonic() + PAUSE
        self.settle()

    def reap(self) -> None:
        """Collect the dead; their slots are free and their lines written."""
        slots = self.children.reap()
        if self.admission.limit:
            for slot in slots:
                self.admission.leave(host_of(self.board.peer(slot)))
        if slots and not self.polling:
            self.settle()

    # signals

    def dispatch(self, signums: set[int]) -> None:
        """Act on the signals that have come: a stop first, then the dead, then the rest."""
        if self.log.debugging:
            self.log.debug(f"signals numbers={sorted(signums)}")
        if signal.SIGINT in signums or (self.draining and signums & {signal.SIGTERM, signal.SIGQUIT}):
            self.stop(0.0)
        elif signums & {signal.SIGTERM, signal.SIGQUIT}:
            self.stop(self.config.drain_timeout)
        if signal.SIGCHLD in signums:
            self.reap()
        if signal.SIGHUP in signums and not self.draining:
            reload.reload(self)
        if signal.SIGUSR1 in signums:
            reload.reopen(self)

    def stop(self, timeout: float | None) -> None:
        """Stop listening and drain the clients for `timeout` seconds (None: as long as it takes), then end them."""
        now = time.monotonic()
        self.kill_at = FOREVER if timeout is None else now + timeout
        if not self.draining:
            self.draining = True
            self.settle()
            for listener in self.listeners.values():
                listener.close()
            self.listeners = {}
            self.board.words[scoreboard.STATE] = scoreboard.DRAINING
            self.notify.stopping()
            self.log.info(f"drain clients={len(self.children.table)}")
        if timeout == 0:
            self.children.kill()
        else:
            self.children.send(signal.SIGTERM)
            self.repeat_at = now + REPEAT
