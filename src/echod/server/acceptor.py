"""The acceptor: the listeners, polled while there is room; each client is refused or given a child."""

from __future__ import annotations

import select
import time

from echod.common import scoreboard
from echod.common.cmodules import os
from echod.common.config.values import host_of, write_address
from echod.common.errors import ForkError
from echod.common.sockets import Listener, client_gone
from echod.server.admission import Admission
from echod.server.children import BATCH
from echod.server.log.log import INFO, WARNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from echod.common.config.settings import Config
    from echod.server.children import Children
    from echod.server.log.log import Log

FOREVER = float("inf")
PAUSE = 0.1  # seconds without accepting when the system is out of something
QUIET = 5  # milliseconds without a client that tell that a listener is empty, and no handshake under way
OVER_LIMIT, FORK_FAILED = "over_limit", "fork_failed"


class Acceptor:
    """The open door. `resume_at` is when a pause ends; `schedule` is called when that or the log sets a deadline.

    It is `eager` while it matters at once who is gone: the house is full or closed, or clients are counted by source.
    The cap on children is "do not poll the listeners", so a full house sleeps.
    """

    __slots__ = (
        "_cap", "_careful", "_crowd", "_door", "admission", "children", "closed", "eager", "listeners", "log",
        "poller", "polling", "refusing", "resume_at", "schedule",
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
        self.log = log
        self.listeners = {listener.fd: listener for listener in listeners}
        self._cap = config.max_children
        self._crowd = 1  # how many clients to look for at once
        self.refusing = config.over_limit == "refuse"
        self.admission = Admission(config, [host_of(peer) for peer in self.children.peers()])
        self._careful = log.debugging or not self.admission.open

    def settle(self) -> None:
        """Poll the listeners while there is room for a client, and only then."""
        room = self._cap > len(self.children.table)
        wanted = (room or self.refusing) and not self.closed and self.resume_at == FOREVER
        if wanted != self.polling:
            self.polling = wanted
            for fd in self.listeners:
                if wanted:
                    self.poller.register(fd, select.POLLIN)
                else:
                    self.poller.unregister(fd)
        self.eager = not wanted or not room or self.admission.limit > 0 or self.log.debugging

    def admit(self, listener: Listener) -> bool:
        """Give a child to a client, and in a crowd to those behind it; False when nobody else is there.

        A crowd is looked for from when the books have been kept until there was nobody left: to ask poll(2) before each
        accept costs less than to find nobody, and more than to find someone.
        """
        room, most = self._cap - len(self.children.table), self._crowd
        if room < most:
            most = room if room > 0 else 1
        turn_away = None
        if self._careful or room <= 0:
            turn_away, self._door = self._turn_away, listener.name
        try:
            self.children.spawn(listener.accept, most, turn_away)
        except BlockingIOError:
            self._crowd = 1
            return False
        except ForkError as failed:
            if self.admission.limit:
                self.admission.leave(failed.peer[0])
            self.refuse(write_address(failed.peer), FORK_FAILED)
            self.pause(f"fork error={str(failed)!r}")
            return False
        except OSError as error:
            if not client_gone(error):
                self.pause(f"accept error={error.strerror!r}")
                return False
        if room <= most:
            self.settle()
        return True

    def _turn_away(self, fd: int, address: tuple[Any, ...]) -> bool:
        """Apply the cap and the rules to a client; close the connection of one that may not come in."""
        if self.log.debugging:
            self.log.debug(f"accept peer={write_address(address)} fd={fd} listener={self._door}")
        reason = self.admission.refusal(address[0]) or ("" if self._cap > len(self.children.table) else OVER_LIMIT)
        if reason:
            os.close(fd)
            self.refuse(write_address(address), reason)
        elif self.admission.limit:
            self.admission.enter(address[0])
        return bool(reason)

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
        """Let others in, in the place of those that are gone; they may have come in a crowd."""
        self._crowd = BATCH
        if self.admission.limit:
            for peer in peers:
                self.admission.leave(host_of(peer))
        if peers and self.eager:
            self.settle()

    def replace(self, config: Config, listeners: list[Listener], log: Log) -> None:
        """Put other settings and listeners in force. Those who wait at a listener that goes are served first."""
        dropped = [listener for listener in self.listeners.values() if listener not in listeners]
        self._stop_polling()
        self._set(config, listeners, log)
        for listener in listeners:
            self._attempt(listener.tune, config)
        for listener in dropped:
            self._attempt(listener.unlist)
        self._empty(dropped)
        for listener in dropped:
            self._attempt(listener.stop)
            self._attempt(listener.close)
        self.settle()

    def _attempt(self, call: Callable[..., None], *args: object) -> None:
        """Do what the daemon can do without: it is logged when it fails, and that is all."""
        try:
            call(*args)
        except OSError as error:
            self.log.warning(f"{call.__name__} error={error.strerror!r}")

    def _empty(self, listeners: list[Listener]) -> None:
        """Serve who waits at these listeners, as far as there is room, until nobody has come for QUIET."""
        poller = select.poll()
        for listener in listeners:
            poller.register(listener.fd, select.POLLIN)
        left = self._cap - len(self.children.table)
        while left > 0 and listeners and (ready := poller.poll(QUIET)):
            for fd, _event in ready:
                self.admit(next(listener for listener in listeners if listener.fd == fd))
                self.children.book()
                left -= 1

    def close(self) -> None:
        """Accept nobody any more, for good."""
        self.closed = self.eager = True
        self._stop_polling()
        for listener in self.listeners.values():
            self._attempt(listener.stop)
            self._attempt(listener.close)
        self.listeners = {}

    def _stop_polling(self) -> None:
        if self.polling:
            for fd in self.listeners:
                self.poller.unregister(fd)
            self.polling = False
