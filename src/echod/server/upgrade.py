"""Upgrade in place: the daemon executes the installed version in its own place; pid, sockets, lock and children stay.

    IDLE ── SIGUSR2 ──▶ TRIAL ── the trial has exited, and it is fit ──▶ READY ── execve ──▶ the new version
     ▲                    │ refused, killed, too slow                     │ execve fails, or a stop comes
     └────────────────────┴───────────────────────────────────────────────┘     (a reload: TRIAL once more)

The whole sequence:

1. `begin`: SIGUSR2 counts a request on the scoreboard.
2. `_try`: a child executes the installed version with `--trial`. It inherits the sockets and three files: one with what
   is handed over (`common.succession`), one for its answer, one for its stderr. The daemon serves all this time.
3. `successor.rehearse`, in that child: read the file and the settings, adopt the sockets, map the scoreboard, open the
   log; then answer with the settings, or with the reason why this version cannot go on.
4. `_judge`: the trial was reaped. The daemon reads its answer, and gives up unless the new version is fit.
5. `_replace`: block signals, reap, write the file again with the settings that the trial has determined, execve(2).
6. `main`, in the new version: take the file, adopt the sockets, map the scoreboard, open the log.
7. `successor.adopt_children`: the table has the children again. Those that exited since step 5 are zombies until the
   loop reaps them. Signals are unblocked when their handlers are there.
8. `main.resume`: log the new version, listen on new addresses, and answer the request on the scoreboard.

Nothing here waits for a resolver, and the daemon never waits for the trial: a trial that hangs is killed at its
deadline, ends itself then if the daemon is stopped, and ends with the daemon.

Nothing is given up before execve(2): should it fail, the daemon goes on as it was. Record locks survive it, for no
descriptor of the pid file is closed.
"""

from __future__ import annotations

import sys
import time

from echod import __version__
from echod.common.cmodules import environ, os, signal
from echod.common.errors import BAD_CONFIG, DONE, FAILED, end_of, last_words
from echod.common.items import read_items, read_whole, write_items
from echod.common.machine import nameless_file
from echod.common.scoreboard import RELOADS_BEGUN, UPGRADES_BEGUN
from echod.common.signals_table import HANDLED
from echod.common.succession import WORD, Answer, Succession
from echod.server.failures import attempt, reason
from echod.server.successor import write_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.common.config.settings import Config
    from echod.common.launch import Launch
    from echod.server.acceptor import Acceptor
    from echod.server.board import Board
    from echod.server.children import Children
    from echod.server.signals import SignalPipe

IDLE, TRIAL, READY = range(3)
ON_TRIAL = "--trial"
DEADLINE = 10.0  # seconds for the trial
PR_SET_PDEATHSIG = 1  # prctl(2)
FOREVER = float("inf")


class Upgrade:
    """The upgrade in progress, and when something is `due`. `answer` is told why it has failed: see `Server.answer`.

    name        set by           meaning
    state, due  _set_state       what comes next, and when at the latest
    _closed     close            why there will be no upgrade any more
    _late       tick             why the trial was killed
    _reloads    _try             number of reloads before the trial
    _trial      _try             its pid
    _files      _try, _end       descriptors: what is handed over, the trial's answer, its stderr; empty while IDLE
    _fit        _read_answer     the answer of a trial that is fit
    config      Server.apply     the settings in effect
    _again      begin, _end      1 if another upgrade was asked for during this one
    """

    def __init__(  # noqa: PLR0913 - the parts of the server that the new version takes over
        self,
        launch: Launch,
        board: Board,
        signals: SignalPipe,
        children: Children,
        acceptor: Acceptor,
        *,
        oom_fd: int,
        answer: Callable[..., None],
    ) -> None:
        self._launch, self._board, self._words, self._signals = launch, board, board.words, signals
        self._children, self._acceptor, self._oom_fd, self._answer = children, acceptor, oom_fd, answer
        self.state, self.due = IDLE, FOREVER
        self._closed, self._late = "", ""
        self._reloads, self._trial, self._again = 0, 0, 0
        self._files: list[int] = []
        self._fit = Answer()
        self.config: Config

    def _set_state(self, state: int, due: float = FOREVER) -> None:
        """Change the state: the only place."""
        self.state, self.due = state, due

    def begin(self) -> None:
        """Act on SIGUSR2. While an upgrade is in progress another one is left for the time after it."""
        if self.state != IDLE:
            self._again = 1
            return
        self._words[UPGRADES_BEGUN] += 1
        self._try()

    def close(self, why: str) -> None:
        """Allow no upgrade from now on."""
        self._closed = why
        if self.state == TRIAL:
            self._kill()
        elif self.state == READY:
            self._end(FAILED, why)

    def on_reaped(self, others: dict[int, int]) -> None:
        """Judge the trial if it is among the exited processes: `others` has their wait statuses, by pid."""
        if self.state == TRIAL and self._trial in others:
            self._judge(others[self._trial])

    def tick(self, now: float) -> None:
        """Continue with what is in progress: after each reaping, and when it is due."""
        if self.state == TRIAL and now >= self.due:
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
            for name in ("state", "trial", "trial"):
                self._files.append(nameless_file(name))
            self._trial = fork_trial(*self._hand_over(), self._files)
        except (OSError, MemoryError) as error:
            self._end(FAILED, f"cannot try the new version: {reason(error)}")
        else:
            self._set_state(TRIAL, time.monotonic() + DEADLINE)

    def _kill(self) -> None:
        """Kill the trial; the upgrade ends when it is reaped."""
        self.due = FOREVER
        attempt(self._children.log, "kill", os.kill, self._trial, signal.SIGKILL)

    def _judge(self, status: int) -> None:
        """Go by the trial's answer, and by how it ended."""
        code, why = self._read_answer(status)
        if self._closed or self._late:
            self._end(FAILED, self._closed or self._late)
        elif code == DONE:
            self._set_state(READY)
        else:
            self._end(BAD_CONFIG if code == BAD_CONFIG else FAILED, why)

    def _read_answer(self, status: int) -> tuple[int, str]:
        """Note the settings of a version that is fit; return its exit code, and why it is not."""
        _, answer_fd, stderr = self._files
        try:
            answer = Answer.from_items(read_items(answer_fd))
        except (OSError, MemoryError) as error:
            return FAILED, reason(error)
        except ValueError:  # it did not get so far
            answer = Answer(code=FAILED)
        if answer.code != DONE and answer.why:
            return answer.code, answer.why
        if answer.code == DONE and status == 0:
            self._fit = answer
            return DONE, ""
        try:
            said = last_words(read_whole(stderr).decode(errors="replace"))
        except (OSError, MemoryError) as error:
            said = [reason(error)]
        return FAILED, "; ".join(["the new version has failed in its trial", *said, end_of(status)])

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
            self._acceptor.on_reaped(self._children.reap()[0])
            self._children.log.flush(FOREVER)
            execute(*self._hand_over(), self._files[0])
        except (OSError, MemoryError) as error:
            self._end(FAILED, f"cannot execute {sys.executable}: {reason(error)}")
        finally:
            attempt(self._children.log, "sigprocmask", signal.pthread_sigmask, signal.SIG_UNBLOCK, HANDLED)

    def _hand_over(self) -> tuple[Launch, Succession]:
        """Write the succession to its file; return what goes on the command line, and it. Raises OSError."""
        listeners, children = self._acceptor.all(), self._children
        succession = Succession(
            version=__version__,
            oom_fd=self._oom_fd,
            lost=children.log.sink.lost,
            again=self._again,
            sockets=tuple(listener.fd for listener in listeners),
            slots=self._board.top,
            in_effect=write_settings(self.config),
            settings=self._fit.settings,
            changes=self._fit.changes,
            children=tuple((pid, one.slot, int(one.named), one.address) for pid, one in children.table.items()),
        )
        succession.write(self._files[0])
        return self._launch.replace(addresses=tuple(one.address for one in listeners), ready_fd=-1), succession

    def _end(self, code: int, why: str) -> None:
        """Let the old version go on."""
        self._close_files()
        self._fit = Answer()
        self._set_state(IDLE)
        self._children.log.error(f"error call=upgrade why={why!r}")
        self._answer(UPGRADES_BEGUN, code, upgrade=why)
        if self._again:
            self._again = 0
            self.begin()

    def _close_files(self) -> None:
        for fd in self._files:
            attempt(self._children.log, "close", os.close, fd)
        self._files = []


def execute(launch: Launch, succession: Succession, state_fd: int, *options: str) -> None:
    """Execute the installed version as this process was executed itself. Raises OSError."""
    for fd in (*succession.sockets, launch.pid_fd, launch.board_fd, succession.oom_fd, state_fd):
        if fd >= 0:
            os.set_inheritable(fd, True)
    program = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
    os.execve(sys.executable, [*program, *options, *launch.to_items(), f"{WORD}{state_fd}"], environ)


def fork_trial(launch: Launch, succession: Succession, files: list[int]) -> int:
    """Fork a child that executes the installed version with `--trial`; returns its pid. Raises OSError.

    `files` are what is handed over, where it answers, and its stderr.
    """
    state_fd, answer_fd, stderr = files
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            end_with(parent)
            os.dup2(answer_fd, 1)
            os.dup2(stderr, 2)
            execute(launch, succession, state_fd, ON_TRIAL)
        except OSError as error:
            why = f"cannot execute {sys.executable}: {reason(error)}; use restart"
            write_items(1, Answer(code=FAILED, why=why).to_items())
        finally:
            os._exit(FAILED)  # noqa: SLF001
    return pid


def end_with(parent: int) -> None:
    """Let this process, a trial, end by SIGALRM at the deadline and by SIGKILL with the daemon. Both survive execve(2).

    A trial that outlived the daemon would keep its sockets, and a start would find the addresses in use.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    signal.alarm(int(DEADLINE) + 1)
    try:
        import ctypes  # noqa: PLC0415 - in the daemon every fork would copy it

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    except Exception:  # noqa: BLE001 - a Python without it: then the deadline ends the trial
        return
    if os.getppid() != parent:  # it has ended before prctl(2)
        os._exit(FAILED)  # noqa: SLF001
