"""The acceptor: the listeners, polled while there is room; each client is rejected or given a child (TLPI 60.3).

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

from echod.common.cmodules import os
from echod.common.config.addresses import write_address
from echod.common.scoreboard import FULL_SINCE
from echod.common.sockets import Listener, is_client_error
from echod.server.admission import Admission
from echod.server.children import BATCH
from echod.server.failures import attempt, reason, report
from echod.server.log.log import DEBUG, WARNING
from echod.server.refuse import FORK_FAILED, OVER_LIMIT, refuse
from echod.server.retire import retire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from echod.common.config.settings import Config
    from echod.common.sockets import Accept
    from echod.server.board import Board
    from echod.server.children import Children
    from echod.server.log.log import Log
    from echod.server.oom import OomScore

OPEN, FULL, PAUSED, CLOSED = range(4)
FOREVER, PAUSE, BURST = float("inf"), 0.1, 16  # seconds when the system is out of something; clients in one go
close, write = os.close, os.write


class Acceptor:
    """The listeners and its state. `reap_after`: after how many clients it matters who has exited."""

    __slots__ = (
        "_admission", "_admits_all", "_board", "_burst", "_cap", "_children", "_oom", "_poller", "_refusing",
        "listeners", "log", "reap_after", "resume_at", "state",
    )  # fmt: skip

    def __init__(self, board: Board, children: Children, poller: select.poll, oom: OomScore) -> None:
        self._board, self._children, self._poller, self._oom = board, children, poller, oom
        self.listeners: dict[int, Listener] = {}
        self.state, self._refusing, self.resume_at = PAUSED, False, FOREVER

    def configure(self, config: Config, listeners: list[Listener], log: Log) -> None:
        """Put settings and listeners in force. Those who wait at a listener that goes are served first."""
        dropped = [listener for listener in self.all() if listener not in listeners]
        self._set_state(PAUSED)
        self.log, self.listeners = log, {listener.fd: listener for listener in listeners}
        self._cap, self._burst, self._refusing = config.max_children, BURST, config.over_limit == "refuse"
        self._admission = Admission(config, [child.address for child in self._children.table.values()])
        self._admits_all = self._admission.open
        for listener in listeners:
            attempt(log, "tune", listener.tune, config)
        self._resume()
        retire(dropped, self, log)

    def _set_state(self, state: int) -> None:
        """Change the state, and poll the listeners or not: the only place."""
        before, self.state = self._is_polled(), state
        self.reap_after = BATCH if state == OPEN and not self._admission.limit else 0
        if self._is_polled() != before:
            for fd in self.listeners:
                if not before:
                    self._poller.register(fd, select.POLLIN)
                else:
                    self._poller.unregister(fd)

    def _tell(self) -> None:
        """Tell whether it is full, now that it is known who has exited; a pause may be a moment of FULL."""
        full = self.state == FULL
        if full != bool(self._board.words[FULL_SINCE]) and self.state != PAUSED:
            self._board.words[FULL_SINCE] = time.monotonic_ns() if full else 0
            if full:
                text = f"full clients={len(self._children.table)} max_children={self._cap}"
                self.log.limited(WARNING, "full", "", text)

    def _is_polled(self) -> bool:
        return self.state == OPEN or (self.state == FULL and self._refusing)

    def all(self) -> list[Listener]:
        """Return the listeners."""
        return list(self.listeners.values())

    def _resume(self) -> None:
        self.resume_at = FOREVER
        self._set_state(OPEN if self.capacity() > 0 else FULL)
        self._tell()

    def capacity(self) -> int:
        """Return for how many more clients there is room."""
        return self._cap - len(self._children.table)

    def accept(self, listener: Listener) -> int:
        """Accept a client, and in a burst those behind it; returns how many. Not `attempt`: see `failures.report`."""
        if not self._children.signals.silent:  # no burst yet
            self._children.begin_burst()
        try:
            write(self._oom.fd, self._oom.raised)
        except OSError as error:
            report(self.log, "oom_score_adj", error)
        accepted = self._accept_burst(listener.accept, listener.name)
        try:
            write(self._oom.fd, self._oom.own)
        except OSError as error:
            report(self.log, "oom_score_adj", error)
        if self.state == OPEN and self._cap <= len(self._children.table):
            self._set_state(FULL)
        return accepted

    def _accept_burst(self, accept: Accept, name: str) -> int:
        """Go on for a few clients without asking poll(2); returns how many there were."""
        level, accepted, capacity = self.log.level, 0, self._cap - len(self._children.table)
        most = max(1, min(self._burst, capacity))
        self._burst = min(BURST, 2 * self._burst)
        is_rejected = None if self._admits_all and capacity > 0 else self._is_rejected
        try:
            while accepted < most:
                fd, address = accept()
                accepted += 1
                if level == DEBUG:
                    self.log.debug(f"accept peer={write_address(address)} fd={fd} listener={name}")
                if is_rejected and is_rejected(fd, address):
                    continue
                try:
                    self._children.spawn(fd, address)
                except (OSError, MemoryError) as error:
                    most = self._on_fork_failed(address, error)
                try:
                    close(fd)
                except OSError as error:
                    report(self.log, "close", error)
        except BlockingIOError:
            self._burst = max(1, accepted)  # alone, to ask poll(2) costs less than to find nobody
        except (OSError, MemoryError) as error:
            if isinstance(error, MemoryError) or not is_client_error(error):
                self._pause(f"accept error={reason(error)!r}")
            else:
                accepted += 1  # that many of them leave time for what is due
        return accepted

    def _is_rejected(self, fd: int, address: tuple[Any, ...]) -> bool:
        """Close the connection of a client that is not admitted; count one that is."""
        why = self._admission.rejection(address) or (OVER_LIMIT if self.capacity() <= 0 else "")
        if why:
            refuse(self._board, self.log, address, why)
            attempt(self.log, "close", close, fd)
        elif self._admission.limit:
            self._admission.enter(address)
        return bool(why)

    def _on_fork_failed(self, address: tuple[Any, ...], error: Exception) -> int:
        """Count the client that a failed fork has cost, and pause; returns 0: how many more to accept."""
        if self._admission.limit:
            self._admission.leave(address)
        refuse(self._board, self.log, address, FORK_FAILED)
        self._pause(f"fork error={reason(error)!r}")
        return 0

    def _pause(self, text: str) -> None:
        """Stop accepting for a moment: what is missing now, a descriptor or memory, may be there then."""
        self.log.limited(WARNING, text, "", text)
        self.resume_at = time.monotonic() + PAUSE
        self._set_state(PAUSED)

    def resume(self, now: float) -> None:
        """End a pause that is over; `now` is of time.monotonic()."""
        if now >= self.resume_at:
            self._resume()

    def on_reaped(self, addresses: list[tuple[Any, ...]]) -> None:
        """Admit others in the place of those that have gone."""
        if self._admission.limit:
            for address in addresses:
                self._admission.leave(address)
        if self.state == FULL and self.capacity() > 0:
            self._set_state(OPEN)
        self._tell()

    def close(self) -> None:
        """Accept nobody any more, for good; who waits is served first, as far as there is room."""
        listeners = self.all()
        self._set_state(PAUSED)
        self.listeners = {}
        self._resume()
        retire(listeners, self, self.log)
        self.resume_at = FOREVER
        self._set_state(CLOSED)
        self._tell()
