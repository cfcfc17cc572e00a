"""A running daemon, seen from outside: found by the lock it holds, signalled and awaited through a pidfd.

It never touches an unrelated process, whatever the pid file says. After a command has learnt the holder's pid, and
before it opens the pidfd, the process may end and another may get its number. So the command asks for the holder again
once the pidfd is open; from then on the pidfd stands for that process (pidfd_open(2)).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import TYPE_CHECKING

from echod.cli import proc
from echod.cli.context import board_path, rights_of, user_name
from echod.cli.pidfile import POLL_INTERVAL_S, controllers, open_plain
from echod.common import scoreboard
from echod.common.errors import FAILED, NOT_PERMITTED, NOT_RUNNING, EchodError, from_os_error
from echod.common.scoreboard import Scoreboard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from echod.cli.pidfile import PidFile

REPLY_S = 30.0  # for a reload, a reopen or a start: binding may ask the DNS
LEAVING_S = 1.0  # for a daemon that has removed its files to end
RELOAD = signal.SIGHUP, scoreboard.RELOADS_BEGUN, scoreboard.RELOADS_DONE, scoreboard.RELOAD_CODE
UPGRADE = signal.SIGUSR2, scoreboard.UPGRADES_BEGUN, scoreboard.UPGRADES_DONE, scoreboard.UPGRADE_CODE
REOPEN = signal.SIGUSR1, scoreboard.REOPENS_BEGUN, scoreboard.REOPENS_DONE, scoreboard.REOPEN_CODE
LONGEST_POLL_MS = 2.0**31 - 1  # what poll(2) takes


class Daemon:
    """The running daemon: its `pid`, a descriptor that stands for the process, and its scoreboard."""

    def __init__(self, pid: int, pidfd: int, pid_file: PidFile) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._pid_file = pid_file
        self._path = board_path(pid_file.path)

    @classmethod
    def find(cls, pid_file: PidFile) -> Daemon | None:
        """Return the daemon that holds the lock, or None if none does. Raises EchodError if that is unknown."""
        while True:
            try:
                pid = pid_file.holder()
            except OSError as error:
                raise from_os_error("cannot tell whether echod runs", error) from None
            if pid == 0:
                return None
            if pid < 0:
                raise EchodError(
                    f"{pid_file.path}: is locked by a process that is not visible from here (in another pid namespace?)"
                )
            try:
                pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            if pid_file.holder() == pid:
                return cls(pid, pidfd, pid_file)
            os.close(pidfd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._pidfd)

    def board(self) -> Scoreboard:
        """Open the scoreboard for reading. Raises EchodError, NOT_RUNNING if the daemon has just ended."""
        try:
            fd = open_plain(self._path, os.O_RDONLY)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and self.wait(LEAVING_S):
                raise EchodError(f"process {self.pid} has just ended", NOT_RUNNING) from None
            raise from_os_error(f"process {self.pid} runs, but its scoreboard cannot be read", error) from None
        try:
            board = Scoreboard(fd)
        except (OSError, ValueError):
            raise EchodError(f"{self._path}: is not a scoreboard") from None
        finally:
            os.close(fd)
        if board.words[scoreboard.MAGIC] != scoreboard.VERSION:
            raise EchodError(f"{self._path}: is the scoreboard of another version of echod; restart the daemon")
        if board.words[scoreboard.PID] != self.pid:
            raise EchodError(f"{self._path}: is not the scoreboard of process {self.pid}; restart the daemon")
        return board

    def wait_started(self, timeout: float = REPLY_S) -> int:
        """Wait until it has started; return the scoreboard's STATE. Raises EchodError, NOT_RUNNING if it has ended."""
        deadline = time.monotonic() + timeout
        while (state := self.board().words[scoreboard.STATE]) == scoreboard.STARTING:
            if self.wait(POLL_INTERVAL_S):
                raise EchodError(f"process {self.pid} ended before it was ready; its log may say why", NOT_RUNNING)
            if time.monotonic() > deadline:
                raise EchodError(f"process {self.pid} has been starting for {timeout:g} s", FAILED)
        return state

    def send(self, signum: signal.Signals) -> None:
        """Signal it, unless it has just ended. Raises EchodError if that is not permitted."""
        with contextlib.suppress(ProcessLookupError), self._rights():
            signal.pidfd_send_signal(self._pidfd, signum)

    def _is_server(self) -> bool:
        """Return True if the process was executed with this pid file."""
        with contextlib.suppress(OSError):
            return f"pid_file={self._pid_file.path}" in proc.command_line(self.pid)
        return False

    @contextlib.contextmanager
    def _rights(self) -> Iterator[None]:
        """Take the rights of the user who made this process the holder, unless it is a server. Raises EchodError."""
        uids = controllers(self._pid_file.path) if os.geteuid() == 0 and not self._is_server() else set()
        try:
            with rights_of(uids):
                yield
        except PermissionError:
            why = "it is another user's; be root or that user"
            if uids:
                names = ", ".join(map(user_name, sorted(uids)))
                why = f"{self._pid_file.path} can be replaced by {names}, who may not signal it"
            raise EchodError(f"cannot signal process {self.pid}: {why}", NOT_PERMITTED) from None

    def wait(self, timeout: float | None) -> bool:
        """Wait until it has ended; return False if the time, in seconds, is over first."""
        deadline = None if timeout is None else time.monotonic() + timeout
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        while True:
            left = LONGEST_POLL_MS if deadline is None else (deadline - time.monotonic()) * 1000
            if poller.poll(min(max(0.0, left), LONGEST_POLL_MS)):
                return True
            if left <= 0:
                return False

    def ask(self, signum: signal.Signals, begun: int, done: int, code: int) -> tuple[int, dict[str, str]]:
        """Send a signal and wait for its outcome on the scoreboard: the exit code and the texts. Raises EchodError.

        Requests are numbered. One that has begun before our signal may have read the file before our change to it: the
        outcome awaited is that of a later one.
        """
        board = self.board()
        wanted = board.words[begun] + 1
        self.send(signum)
        deadline = time.monotonic() + REPLY_S
        while board.words[done] < wanted:
            if self.wait(POLL_INTERVAL_S):
                raise EchodError(f"process {self.pid} ended instead; its log may say why", NOT_RUNNING)
            if time.monotonic() > deadline:
                raise EchodError(
                    f"process {self.pid} did not answer within {REPLY_S:.0f} s; its log may say why",
                    FAILED,
                )
        return board.words[code], board.texts()

    def kill(self) -> None:
        """End it and its children immediately. Raises EchodError, OSError.

        It is stopped first, so that it neither forks nor reaps. The search for children ends when it finds no new one.
        """
        self.send(signal.SIGSTOP)
        killed: set[int] = set()
        try:
            while found := {pid for pid in proc.pids() if self._kill_child(pid)}:
                if found <= killed:
                    break
                killed |= found
        finally:
            self.send(signal.SIGKILL)

    def _kill_child(self, pid: int) -> bool:
        """End a process if it is a child of the daemon; return True if it is."""
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            if proc.parent_of(pid) != self.pid:
                return False
            with self._rights():
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError, PermissionError):  # hidepid: another user's (proc(5))
            return False
        finally:
            os.close(pidfd)
        return True
