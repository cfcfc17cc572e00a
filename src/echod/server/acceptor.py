"""The acceptor: the listeners, polled while there is room. Each client is refused or gets a child (TLPI 60.3).

    ┌──── room again ────────┐
    ▼                        │
──▶ OPEN ── cap reached ───▶ FULL        a full server does not poll its listeners, and so sleeps;
    │  ▲                     │           with over_limit=refuse it polls them, and closes each connection
    │  └─ pause is over ─ PAUSED         out of descriptors, memory or processes, from OPEN or FULL
    └───── a stop ───────▶ CLOSED        from any state, for good

A pause ends in OPEN or in FULL, whichever is true then. `configure` and `close` use PAUSED, too, to stop polling while
the listeners change.
"""

from __future__ import annotations

import select
import time

from echod.common.calls import close
from echod.common.cmodules import socket
from echod.common.config.addresses import write_address
from echod.common.config.rules import pack_peer
from echod.common.reasons import EOF, FORK_FAILED, OVER_LIMIT, REASONS, RESET
from echod.common.scoreboard import FULL_SINCE
from echod.common.sockets import Listener, is_client_error
from echod.log.log import DEBUG, WARNING
from echod.server.admission import Admission, count_out, refuse
from echod.server.children import BATCH_CLIENTS
from echod.server.ending import retire
from echod.server.failures import attempt, reason, report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.common.config.settings import Config
    from echod.log.log import Log
    from echod.server.board import Board
    from echod.server.children import Children, PeerAddress
    from echod.server.process import OomScore

OPEN, FULL, PAUSED, CLOSED = range(4)
FOREVER = float("inf")
SILENT_CLIENTS = 8  # so many among those reaped at once, and the acceptor looks first whether a client is still there
WARY_S = 10.0  # for so long after that
PEEK = socket.MSG_PEEK | socket.MSG_DONTWAIT
PAUSE_S = 0.1  # when the system is out of descriptors, memory or processes
BURST_CLIENTS = 16  # accepted in one go, at most: other listeners and signals wait for so long


class Acceptor:
    """The listeners and their state.

    `is_polled`: the loop may call `accept`. `reap_after`: after how many clients it matters which children have exited.
    `_wary_until`: 0.0, or many clients have ended without a byte. A client that connects and disconnects as fast as
    it can would have a child forked for each time, and all others would wait behind these. So a client that has
    already disconnected gets no child. To look costs a client more, so it is done only while there are such clients.
    """

    __slots__ = (
        "_admission", "_board", "_burst", "_cap", "_children", "_oom", "_poller", "_refuses_when_full", "_unset",
        "_wary_until", "is_polled", "listeners", "log", "reap_after", "resume_at", "state",
    )  # fmt: skip

    def __init__(self, board: Board, children: Children, poller: select.poll, oom: OomScore, log: Log) -> None:
        self._board, self._children, self._poller, self._oom, self.log = board, children, poller, oom, log
        self.listeners: dict[int, Listener] = {}
        self._unset: set[str] = set()  # options that could not be set: each is named once
        self.state, self.is_polled, self._refuses_when_full, self.resume_at = PAUSED, False, False, FOREVER
        self._wary_until = 0.0

    def configure(self, config: Config, listeners: list[Listener]) -> None:
        """Apply settings and listeners. The clients in the accept queue of a removed listener are served first."""
        removed = [listener for listener in self.all() if listener not in listeners]
        self._set_state(PAUSED)  # nothing is polled while the listeners change
        self.listeners = {listener.fd: listener for listener in listeners}
        self._cap, self._burst, self._refuses_when_full = (
            config.max_children, BURST_CLIENTS, config.over_limit == "refuse",
        )  # fmt: skip
        self._admission = Admission(config, [child.address for child in self._children.table.values()])
        for listener in listeners:
            attempt(self.log, "listen", self._tune, listener, config)
        self._resume()
        retire(removed, self)

    def _tune(self, listener: Listener, config: Config) -> None:
        """Tune a listener, and log the options that fail. Raises OSError."""
        for option, error in listener.tune(config).items():
            if option not in self._unset:
                self._unset.add(option)
                self.log.warning(f"error call=setsockopt why={f'{option}: {reason(error)}'!r}")

    def _set_state(self, state: int) -> None:
        """Change the state, and poll the listeners or not: the only place."""
        was_polled, self.state = self.is_polled, state
        self.is_polled = state == OPEN or (state == FULL and self._refuses_when_full)
        self.reap_after = BATCH_CLIENTS if state == OPEN and not self._admission.limit else 0
        if self.is_polled == was_polled:
            return
        for fd in self.listeners:
            if self.is_polled:
                self._poller.register(fd, select.POLLIN)
            else:
                self._poller.unregister(fd)

    def all(self) -> list[Listener]:
        """Return the listeners."""
        return list(self.listeners.values())

    def capacity(self) -> int:
        """Return for how many more clients there is room."""
        return self._cap - len(self._children.table)

    def accept(self, listener: Listener) -> int:  # noqa: C901, PLR0912 - every function called here would cost each client
        """Accept a client, and in a burst those behind it without asking poll(2); return how many.

        Children that may not raise their oom_score_adj inherit a higher one: see `process.OomScore`.
        """
        accept, children, log, level = listener.accept, self._children, self.log, self.log.level
        accepted, capacity = 0, self.capacity()
        is_admitted = None if self._admission.open and capacity > 0 and not self._wary_until else self._is_admitted
        most = max(1, min(self._burst, capacity))
        self._burst = min(BURST_CLIENTS, 2 * self._burst)
        if children.watched:
            children.unwatch()
        if self._oom.is_inherited:
            self._oom.set(self._oom.raised, log)
        try:
            while accepted < most:
                fd, address = accept()
                accepted += 1
                if level == DEBUG:
                    log.debug(f"accept peer={write_address(address)} fd={fd} listener={listener.name}")
                try:
                    if not is_admitted or is_admitted(fd, address):
                        children.spawn(fd, address)
                except (OSError, MemoryError) as error:
                    self._on_fork_failed(address, error)
                    most = 0  # the pause has begun
                try:
                    close(fd)
                except OSError as error:
                    report(log, "close", error)
        except BlockingIOError:
            self._burst = max(1, accepted)  # clients come alone: to ask poll(2) costs less than to find no client
        except (OSError, MemoryError) as error:
            if isinstance(error, MemoryError) or not is_client_error(error):
                self._pause(f"error call=accept4 why={reason(error)!r}")
            else:
                accepted += 1  # or a flood of such clients would leave no time for what is due
        if self._oom.is_inherited:
            self._oom.set(self._oom.own, log)
        if self.state == OPEN and self.capacity() <= 0:
            self._set_state(FULL)
        return accepted

    def _is_admitted(self, fd: int, address: PeerAddress) -> bool:
        """Return True if a client gets a child, and count it by its source; otherwise count it as refused or ended."""
        peer = pack_peer(address)
        why = self._admission.refusal(peer) or (OVER_LIMIT if self.capacity() <= 0 else "")
        if why:
            refuse(self._board, self.log, address, why)
        elif self._wary_until and not self._admission.greets(peer) and (reason := reason_of_silence(fd)):
            self._children.silent += 1
            count_out(self._board, self.log, address, reason)
            return False
        elif self._admission.limit:
            self._admission.enter(peer)
        return not why

    def _on_fork_failed(self, address: PeerAddress, error: Exception) -> None:
        """Count the client that a failed fork has cost, and pause."""
        if self._admission.limit:
            self._admission.leave(pack_peer(address))
        refuse(self._board, self.log, address, FORK_FAILED)
        self._pause(f"error call=fork why={reason(error)!r}")

    def _pause(self, text: str) -> None:
        """Stop accepting for a moment: a descriptor or memory that is missing now may be free then."""
        self.log.limited(WARNING, text, "", text)
        self.resume_at = time.monotonic() + PAUSE_S
        self._set_state(PAUSED)

    def resume(self, now: float) -> None:
        """End a pause that is over; `now` is of time.monotonic()."""
        if now >= self.resume_at:
            self._resume()

    def _resume(self) -> None:
        self.resume_at = FOREVER
        self._set_state(OPEN if self.capacity() > 0 else FULL)
        self._record_full()

    def on_reaped(self, addresses: list[PeerAddress]) -> None:
        """Accept again if the children that have exited have left room. `addresses` are their clients'."""
        silent, self._children.silent = self._children.silent, 0
        if silent >= SILENT_CLIENTS:
            self._wary_until = time.monotonic() + WARY_S
        elif self._wary_until and time.monotonic() >= self._wary_until:
            self._wary_until = 0.0
        if self._admission.limit:
            for address in addresses:
                self._admission.leave(pack_peer(address))
        if self.state == FULL and self.capacity() > 0:
            self._set_state(OPEN)
        self._record_full()

    def _record_full(self) -> None:
        """Record and log whether the daemon is full, now that exited children are reaped.

        A pause changes nothing of it: the daemon may have been full before the pause, and still be.
        """
        full = self.state == FULL
        if full != bool(self._board.words[FULL_SINCE]) and self.state != PAUSED:
            self._board.words[FULL_SINCE] = time.monotonic_ns() if full else 0
            if full:
                text = f"full clients={len(self._children.table)} max_children={self._cap}"
                self.log.limited(WARNING, "full", "", text)

    def close(self) -> None:
        """Stop accepting, for good. The clients in the accept queues are served first, as far as there is room.

        `retire` takes them from the listeners by `accept`, so the state must be OPEN or FULL until it is done.
        """
        listeners = self.all()
        self._set_state(PAUSED)
        self.listeners = {}
        self._resume()
        retire(listeners, self)
        self.resume_at = FOREVER
        self._set_state(CLOSED)
        self._record_full()


def reason_of_silence(fd: int) -> str:
    """Return how a client has ended that has sent no byte; "" if it is still there, or has sent something."""
    conn = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fd)  # the family is not used, and so not asked for
    try:
        return "" if conn.recv(1, PEEK) else REASONS[EOF]
    except ConnectionError:
        return REASONS[RESET]
    except OSError:
        return ""
    finally:
        conn.detach()
