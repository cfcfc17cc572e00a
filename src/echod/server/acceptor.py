"""The acceptor: the listeners, polled while there is room; each client is rejected or given a child.

┌───── room again ──────┐
▼                       │
──▶  OPEN ── cap reached ──▶ FULL        a full server does not poll its listeners, and so sleeps; with
│  ▲                                over_limit=refuse it does, and closes at once
│  └── PAUSE is over ── PAUSED      out of descriptors, memory or processes
└─────── a stop ──────▶ CLOSED      from any state, for good
"""

from __future__ import annotations

import select
import time

from echod.common import scoreboard
from echod.common.cmodules import os
from echod.common.config.values import write_address
from echod.common.sockets import Listener, is_client_error
from echod.server.admission import Admission
from echod.server.children import BATCH
from echod.server.failures import attempt, reason, wait
from echod.server.log.log import INFO, WARNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from echod.common.config.settings import Config
    from echod.server.board import Board
    from echod.server.children import Children
    from echod.server.log.log import Log
    from echod.server.oom import OomScore

OPEN, FULL, PAUSED, CLOSED = range(4)
FOREVER = float("inf")
PAUSE = 0.1  # seconds without accepting when the system is out of something
QUIET = 5  # milliseconds without a client that tell that a listener is empty, and no handshake under way
OVER_LIMIT, FORK_FAILED = "over_limit", "fork_failed"


class Acceptor:
    """The listeners by descriptor, and whether they are polled: its state. `resume_at` is when a pause ends."""

    __slots__ = (
        "_admission", "_batch", "_board", "_cap", "_children", "_oom", "_poller", "_refusing", "listeners", "log",
        "resume_at", "state",
    )  # fmt: skip

    def __init__(self, board: Board, children: Children, poller: select.poll, oom: OomScore) -> None:
        self._board, self._children, self._poller, self._oom = board, children, poller, oom
        self.listeners: dict[int, Listener] = {}
        self.state, self._refusing, self.resume_at = PAUSED, False, FOREVER

    def configure(self, config: Config, listeners: list[Listener], log: Log) -> None:
        """Put settings and listeners in force. Those who wait at a listener that goes are served first."""
        dropped = [listener for listener in self.all() if listener not in listeners]
        self._set_state(PAUSED)
        self.log = log
        self.listeners = {listener.fd: listener for listener in listeners}
        self._cap, self._batch = config.max_children, BATCH
        self._refusing = config.over_limit == "refuse"
        self._admission = Admission(config, [child.address for child in self._children.table.values()])
        for listener in listeners:
            attempt(log, "tune", listener.tune, config)
        self._retire(dropped)
        self._resume()

    def _set_state(self, state: int) -> None:
        """Change the state, and poll the listeners or not: the only place."""
        before, self.state = self.polled(), state
        if self.polled() != before:
            for fd in self.listeners:
                if not before:
                    self._poller.register(fd, select.POLLIN)
                else:
                    self._poller.unregister(fd)
        if state == FULL:
            clients = len(self._children.table)
            self.log.limited(WARNING, "full", "", f"full clients={clients} max_children={self._cap}")

    def polled(self) -> bool:
        """Tell whether clients are accepted now, if only to be rejected."""
        return self.state == OPEN or (self.state == FULL and self._refusing)

    def all(self) -> list[Listener]:
        """Return the listeners."""
        return list(self.listeners.values())

    def _resume(self) -> None:
        self.resume_at = FOREVER
        self._set_state(OPEN if self._room() > 0 else FULL)

    def _room(self) -> int:
        return self._cap - len(self._children.table)

    def reaps_at_once(self) -> bool:
        """Tell whether it matters now who has exited: there is no room, or clients are counted by source."""
        return self.state != OPEN or self._admission.limit > 0

    def accept(self, listener: Listener) -> int:
        """Accept a client, and in a burst those behind it; returns how many.

        In a burst it goes on for BATCH clients without asking poll(2): 11 % of a connection. Alone, to ask poll(2)
        costs less than to find nobody: after that it is one at a time until the next reaping.
        """
        accepted, most = 0, min(self._batch, max(1, self._room()))
        self._oom.raise_score()
        try:
            while accepted < most:
                fd, address = listener.accept()
                accepted += 1
                self._serve(fd, address, listener)
                if self.state != OPEN:
                    break
        except BlockingIOError:
            self._batch = 1
        except OSError as error:
            if not is_client_error(error):
                self._pause(f"accept error={reason(error)!r}")
        finally:
            self._oom.restore()
        return accepted

    def _serve(self, fd: int, address: tuple[Any, ...], listener: Listener) -> None:
        """Give a client its child, or reject it; the connection is the child's from here on."""
        if self.log.debugging:
            self.log.debug(f"accept peer={write_address(address)} fd={fd} listener={listener.name}")
        why = "" if self._admission.open else self._admission.rejection(address)
        if not why and self._room() <= 0:
            why = OVER_LIMIT
        try:
            if not why:
                self._spawn(fd, address)
        except (OSError, MemoryError) as error:
            why = FORK_FAILED
            self._pause(f"fork error={reason(error)!r}")
        attempt(self.log, "close", os.close, fd)
        if why:
            self._reject(write_address(address), why, Admission.source(address))

    def _spawn(self, fd: int, address: tuple[Any, ...]) -> None:
        pid = self._children.spawn(fd, address)
        if self._admission.limit:
            self._admission.enter(address)
        if self._room() <= 0:
            self._set_state(FULL)
        if self.log.debugging:
            self.log.debug(f"fork child={pid} clients={len(self._children.table)}; the parent closes fd={fd}")

    def _reject(self, peer: str, why: str, source: object) -> None:
        """Count and log a client that is closed unserved."""
        self._board.words[scoreboard.REFUSALS[why]] += 1
        self.log.limited(INFO, why, source, f"refuse peer={peer} reason={why}")

    def _pause(self, text: str) -> None:
        """Stop accepting for a moment: what is missing now, a descriptor or memory, may be there then."""
        self.log.limited(WARNING, text, "", text)
        self.resume_at = time.monotonic() + PAUSE
        self._set_state(PAUSED)

    def resume(self, now: float) -> None:
        """End a pause that is over; `now` is of time.monotonic()."""
        if now >= self.resume_at:
            self._resume()

    def on_reaped(self, addresses: Iterable[tuple[Any, ...]]) -> None:
        """Let others in, in the place of those that have gone; they may come in a burst."""
        self._batch = BATCH
        if self._admission.limit:
            for address in addresses:
                self._admission.leave(address)
        if self.state == FULL and self._room() > 0:
            self._set_state(OPEN)

    def _retire(self, listeners: list[Listener]) -> None:
        """Close listeners. Who waits there is served as far as there is room, until nobody has come for QUIET."""
        poller = select.poll()
        own = {listener.fd: listener for listener in listeners if listener.address is not None}
        for fd, listener in own.items():
            attempt(self.log, "unlist", listener.unlist)
            poller.register(fd, select.POLLIN)
        self._set_state(OPEN if self._room() > 0 else FULL)
        left = self._room()
        while own and left > 0 and self.state == OPEN and (ready := wait(self.log, poller, QUIET)):
            for fd, _event in ready:
                left -= max(1, self.accept(own[fd]))
        for listener in listeners:
            attempt(self.log, "stop", listener.stop)
            attempt(self.log, "close", listener.close)

    def close(self) -> None:
        """Accept nobody any more, for good; who waits is served first, as far as there is room."""
        listeners = self.all()
        self._set_state(PAUSED)
        self.listeners = {}
        self._retire(listeners)
        self._set_state(CLOSED)
