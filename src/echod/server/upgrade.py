"""Upgrade in place: the daemon executes the installed version in its own place; pid, sockets, lock and children stay.

    IDLE ── SIGUSR2 ──▶ TRIAL ── the trial has exited, and it is fit ──▶ READY ── execve ──▶ the new version
     ▲                    │ refused, killed, too slow                     │ execve fails, or a stop comes
     └────────────────────┴───────────────────────────────────────────────┘     (a reload: TRIAL once more)

The trial is a child that executes the new version with `--trial`: see `trial`. The daemon serves meanwhile. Nothing is
given up before execve(2): should it fail, the daemon goes on as it was. Record locks survive it, for no descriptor of
the pid file is closed. Signals are blocked until the new version has its handlers; children that exit in between stay
zombies until it reaps.
"""

from __future__ import annotations

import sys
import time

from echod import __version__
from echod.common.cmodules import os, signal
from echod.common.errors import BAD_CONFIG, FAILED
from echod.common.handover import read_whole
from echod.common.last_words import end_of, last_words
from echod.common.scoreboard import RELOADS_BEGUN, UPGRADES_BEGUN
from echod.server.execute import collect, execute, fork_trial
from echod.server.failures import attempt, reason
from echod.server.signals import HANDLED
from echod.server.trial import FIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.common.handover import Handover
    from echod.server.acceptor import Acceptor
    from echod.server.children import Children
    from echod.server.signals import SignalPipe

IDLE, TRIAL, READY = range(3)
DEADLINE = 10.0  # seconds for the trial
FOREVER = float("inf")


class Upgrade:
    """What is under way, and when something is `due`. `answer` is told why it has failed: see `Server.answer`."""

    def __init__(
        self,
        handover: Handover,
        words: memoryview[int],
        signals: SignalPipe,
        children: Children,
        acceptor: Acceptor,
        answer: Callable[..., None],
    ) -> None:
        self._handover, self._words, self._signals = handover, words, signals
        self._children, self._acceptor, self._answer = children, acceptor, answer
        self.state, self.due = IDLE, FOREVER
        self._closed = ""  # why there will be none any more
        self._late = ""
        self._reloads = 0  # that have been before the trial
        self._trial = 0  # its pid
        self._output = -1  # what it writes to

    def _set_state(self, state: int, due: float = FOREVER) -> None:
        """Change the state: the only place."""
        self.state, self.due = state, due

    def begin(self) -> None:
        """Act on SIGUSR2. While an upgrade is under way another one is left for the time after it."""
        if self.state != IDLE:
            self._handover.again = 1
            return
        self._words[UPGRADES_BEGUN] += 1
        self._try()

    def close(self, why: str) -> None:
        """Have no upgrade from now on."""
        self._closed = why
        if self.state == TRIAL:
            self._kill()
        elif self.state == READY:
            self._end(FAILED, why)

    def tick(self, now: float) -> None:
        """Go on with what is under way: after each reaping, and when it is due."""
        if self.state == TRIAL and (status := self._children.others[self._trial]) is not None:
            self._judge(status)
        elif self.state == TRIAL and now >= self.due:
            self._late = f"the trial of the new version has taken more than {DEADLINE:g} s"
            self._kill()
        if self.state == READY:
            self._replace()

    def _try(self) -> None:
        """Start a trial."""
        self._late, self._reloads = "", self._words[RELOADS_BEGUN]
        if self._closed:
            self._end(FAILED, self._closed)
            return
        try:
            self._output = os.memfd_create("trial", os.MFD_CLOEXEC)
            self._handover.state_fd = os.memfd_create("state", os.MFD_CLOEXEC)
            collect(self._handover, self._children, self._acceptor.all())
            self._trial = fork_trial(self._handover, self._output)
            self._children.others[self._trial] = None
        except (OSError, MemoryError) as error:
            self._end(FAILED, f"cannot try the new version: {reason(error)}")
        else:
            self._set_state(TRIAL, time.monotonic() + DEADLINE)

    def _kill(self) -> None:
        """End the trial; what follows, follows when it is reaped."""
        self.due = FOREVER
        attempt(self._children.log, "kill", os.kill, self._trial, signal.SIGKILL)

    def _judge(self, status: int) -> None:
        """Go by what the trial has said, and how it ended."""
        del self._children.others[self._trial]
        try:
            said = "\n" + read_whole(self._output).decode(errors="surrogateescape")
        except (OSError, MemoryError) as error:
            said = f"\n{FAILED} {reason(error)}"
        _, fit, lines = said.partition(f"\n{FIT}\n")
        code, _, why = said.rstrip("\n").rpartition("\n")[2].partition(" ")
        if self._closed or self._late:
            self._end(FAILED, self._closed or self._late)
        elif fit and status == 0:
            self._handover.settings = lines.split("\n")[:-1]
            self._set_state(READY)
        elif code.isdigit():
            self._end(BAD_CONFIG if int(code) == BAD_CONFIG else FAILED, why)
        else:
            self._end(FAILED, "; ".join(["the new version has failed in its trial", *last_words(said), end_of(status)]))

    def _replace(self) -> None:
        """Become the new version, unless there is something else to do first. Returns when that fails, too."""
        if self._words[RELOADS_BEGUN] != self._reloads:  # the settings may be others than those of the trial
            self._close_files()
            self._try()
            return
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
            if self._signals.pending - {signal.SIGCHLD}:
                self.due = 0.0
                return
            self._acceptor.on_reaped(self._children.reap())
            self._children.log.flush(FOREVER)
            collect(self._handover, self._children, self._acceptor.all())
            execute(self._handover)
        except (OSError, MemoryError) as error:
            self._end(FAILED, f"cannot execute {sys.executable}: {reason(error)}")
        finally:
            attempt(self._children.log, "sigmask", signal.pthread_sigmask, signal.SIG_UNBLOCK, HANDLED)

    def _end(self, code: int, why: str) -> None:
        """Let the old version go on."""
        self._close_files()
        self._handover.settings, self._handover.children = [], []
        self._set_state(IDLE)
        self._children.log.error(f"upgrade failed={why!r}; version {__version__} goes on")
        self._answer(UPGRADES_BEGUN, code, upgrade=why)
        if self._handover.again:
            self._handover.again = 0
            self.begin()

    def _close_files(self) -> None:
        for fd in (self._output, self._handover.state_fd):
            if fd >= 0:
                attempt(self._children.log, "close", os.close, fd)
        self._output = self._handover.state_fd = -1
