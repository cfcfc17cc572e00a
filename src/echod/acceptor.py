"""The acceptor: the listeners, polled while there is room; each client is refused or given a child."""

from __future__ import annotations

import select
import time

from echod import scoreboard
from echod.admission import Admission
from echod.lean import os
from echod.listener import Listener, client_gone
from echod.log import INFO, WARNING
from echod.values import host_of, write_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.children import Children
    from echod.config import Config
    from echod.log import Log

FOREVER = float("inf")
PAUSE = 0.1  # seconds without accepting when the system is out of something
OVER_LIMIT, FORK_FAILED = "over_limit", "fork_failed"


class Acceptor:
    """The open door. `resume_at` is when a pause ends; `schedule` is called when that or the log sets a deadline.

    It is `eager` while it matters at once who is gone: the house is full or closed, or clients are counted by source.
    The cap on children is "do not poll the listeners", so a full house sleeps.
    """

    __slots__ = (
        "admission", "checking", "children", "closed", "counting", "debugging", "eager", "listeners", "log",
        "poller", "polling", "refusing", "resume_at", "room", "schedule",
    )  # fmt: skip

    def __init__(
        self,
        config: Config,
        listeners: list[Listener],
        children: Children,
        poller: select.poll,
        log: Log,
        schedule: Callable[[], None],
    ) -> None:
        self.children, self.poller, self.schedule = children, poller, schedule
        self.polling = self.closed = False
        self.resume_at = FOREVER
        self._set(config, listeners, log)
        self.settle()

    def _set(self, config: Config, listeners: list[Listener], log: Log) -> None:
        self.log, self.debugging = log, log.debugging
        self.listeners = {listener.fd: listener for listener in listeners}
        self.room = config.max_children - len(self.children.table)  # below zero after a reload with a lower cap
        self.refusing = config.over_limit == "refuse"
        self.admission = Admission(config, [host_of(peer) for peer in self.children.peers()])
        self.checking, self.counting = not self.admission.open, self.admission.limit > 0

    def settle(self) -> None:
        """Poll the listeners while there is room for a client, and only then."""
        wanted = (self.room > 0 or self.refusing) and not self.closed and self.resume_at == FOREVER
        if wanted != self.polling:
            self.polling = wanted
            for fd in self.listeners:
                if wanted:
                    self.poller.register(fd, select.POLLIN)
                else:
                    self.poller.unregister(fd)
        self.eager = not wanted or self.room <= 0 or self.counting

    def admit(self, listener: Listener) -> bool:
        """Accept one client, and refuse it or give it a child; False when there was none."""
        try:
            fd, address = listener.accept()
        except OSError as error:
            if not client_gone(error):
                self.pause(f"accept error={error.strerror!r}")
            return False
        if self.debugging:
            self.log.debug(f"accept peer={write_address(address)} fd={fd} listener={listener.name}")
        reason = "" if self.room > 0 else OVER_LIMIT
        if self.checking:
            reason = self.admission.refusal(address[0]) or reason
        if reason:
            os.close(fd)
            self.refuse(write_address(address), reason)
            return True
        try:
            self.children.spawn(fd, address)
        except OSError as error:
            self.refuse(write_address(address), FORK_FAILED)
            self.pause(f"fork error={error.strerror!r}")
            return False
        if self.counting:
            self.admission.enter(address[0])
        self.room -= 1
        if self.room == 0:
            self.settle()
        return True

    def refuse(self, peer: str, reason: str) -> None:
        """Count and log a client that was closed unserved."""
        self.children.board.words[scoreboard.REFUSALS[reason]] += 1
        self.log.limited(INFO, reason, f"refuse peer={peer} reason={reason}")
        self.schedule()

    def pause(self, text: str) -> None:
        """Stop accepting for a moment: what is missing now, a descriptor or memory, may be there then."""
        self.log.limited(WARNING, text, text)
        self.resume_at = time.monotonic() + PAUSE
        self.schedule()
        self.settle()

    def make_room(self, peers: list[str]) -> None:
        """Let others in, in the place of those that are gone."""
        if not peers:
            return
        self.room += len(peers)
        if self.counting:
            for peer in peers:
                self.admission.leave(host_of(peer))
        if self.eager:
            self.settle()

    def replace(self, config: Config, listeners: list[Listener], log: Log) -> None:
        """Put other settings and listeners in force. Those who wait at a listener that goes are served first."""
        dropped = [listener for listener in self.listeners.values() if listener not in listeners]
        self._stop_polling()
        self._set(config, listeners, log)
        for listener in listeners:
            listener.tune(config)
        for listener in dropped:
            listener.retire()
            while self.room > 0 and self.admit(listener):
                pass
            listener.close()
        self.settle()

    def close(self) -> None:
        """Accept nobody any more, for good."""
        self.closed = self.eager = True
        self._stop_polling()
        for listener in self.listeners.values():
            listener.close()
        self.listeners = {}

    def _stop_polling(self) -> None:
        if self.polling:
            for fd in self.listeners:
                self.poller.unregister(fd)
            self.polling = False
