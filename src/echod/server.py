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
from echod.signals import SignalPipe, name
from echod.values import host_of, write_address

SIGTERM, SIGQUIT, SIGINT = signal.SIGTERM, signal.SIGQUIT, signal.SIGINT
SIGCHLD, SIGHUP, SIGUSR1 = signal.SIGCHLD, signal.SIGHUP, signal.SIGUSR1

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
BATCH = 16  # rounds of the loop that the dead may wait while clients come: to reap many at once is cheaper
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
        self.resume_at = self.repeat_at = self.kill_at = self.due = FOREVER
        reload.publish(self, "ok")
        self.settle()

    def run(self) -> None:
        """Serve until a drain has ended: the only loop."""
        self.board.words[scoreboard.STATE] = scoreboard.RUNNING
        self.log.info(f"ready listen={reload.names(self)} max_children={self.config.max_children}")
        poll, noted, rounds = self.poller.poll, self.signals.noted, 0
        while not (self.draining and not self.children.table):
            busy = False
            for fd, _event in poll(None if self.due == FOREVER and not noted[SIGCHLD] else self.timeout()):
                if fd == self.signals.fd:
                    self.on_signals()
                elif self.polling and fd in self.listeners:  # not so any more, after a signal or the client before
                    self.admit(self.listeners[fd])
                    busy = True
            rounds += 1
            if noted[SIGCHLD] and (rounds >= BATCH or not busy):
                noted[SIGCHLD] = rounds = 0
                peers = self.children.reap()
                if self.admission.limit or not self.polling:
                    self.make_room(peers)
            if self.due < FOREVER:
                self.tick(time.monotonic())

    def timeout(self) -> float:
        """Return how long to sleep in poll(2), in milliseconds: not at all while the dead wait for their turn."""
        return 0.0 if self.signals.noted[SIGCHLD] else max(0.0, (self.due - time.monotonic()) * 1000)

    def schedule(self) -> None:
        """Find out when something is due next. After whatever sets a deadline."""
        self.due = min(self.resume_at, self.repeat_at, self.kill_at, self.log.due)

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
            self.children.send(SIGTERM)
            self.repeat_at = now + REPEAT
        self.schedule()

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
        peer = "%s:%d" % address if len(address) == IPV4 else write_address(address)
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
        self.schedule()

    def pause(self, text: str) -> None:
        """Stop accepting for a moment: what is missing now, a descriptor or memory, may be there then."""
        self.log.limited(levels.WARNING, text, text)
        self.resume_at = time.monotonic() + PAUSE
        self.schedule()
        self.settle()

    def make_room(self, peers: list[str]) -> None:
        """Let others in, in the place of those that are gone."""
        if self.admission.limit:
            for peer in peers:
                self.admission.leave(host_of(peer))
        self.settle()

    # signals

    def on_signals(self) -> None:
        """Act on the signals that have come: a stop first. The dead are left to the loop."""
        os.read(self.signals.fd, 4096)
        noted = self.signals.noted
        if self.log.debugging:
            self.log.debug(f"signals noted={[name(signum) for signum, flag in enumerate(noted) if flag]}")
        if noted[SIGTERM] or noted[SIGQUIT] or noted[SIGINT]:
            at_once = self.draining or noted[SIGINT]
            noted[SIGTERM] = noted[SIGQUIT] = noted[SIGINT] = 0
            self.stop(0.0 if at_once else self.config.drain_timeout)
        if noted[SIGHUP]:
            noted[SIGHUP] = 0
            reload.reload(self)
        if noted[SIGUSR1]:
            noted[SIGUSR1] = 0
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
            self.children.send(SIGTERM)
            self.repeat_at = now + REPEAT
        self.schedule()
