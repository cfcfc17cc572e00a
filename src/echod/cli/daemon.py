"""A running daemon, seen from outside: found by the lock it holds, signalled and awaited through a pidfd.

Whatever the pid file says, an unrelated process is never touched. Between learning the holder's pid and opening the
pidfd the process may end and its number be given to another: the lock is asked again when the pidfd is open, and from
then on the pidfd stands for that process (pidfd_open(2)).
"""

from __future__ import annotations

import os
import select
import signal
import time
from typing import TYPE_CHECKING

from echod.common import scoreboard
from echod.common.errors import FAILED, NOT_PERMITTED, NOT_RUNNING, EchodError, from_os_error
from echod.common.scoreboard import Scoreboard

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from echod.cli.pidfile import PidFile

POLL_INTERVAL = 0.005  # seconds between looks at the scoreboard while the daemon works on what it was asked
REPLY = 30.0  # seconds for a reload or reopen: binding may ask the DNS


def board_path(pid_file: str) -> str:
    """Return where the scoreboard of the daemon with this pid file is."""
    return f"{pid_file.removesuffix('.pid')}.scoreboard"


class Daemon:
    """The running daemon: its `pid`, a descriptor that stands for the process, and its scoreboard."""

    def __init__(self, pid: int, pidfd: int, path: str) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._path = board_path(path)

    @classmethod
    def find(cls, pid_file: PidFile) -> Daemon | None:
        """Return the daemon that holds the lock, None when none does. Raises EchodError when it cannot be told."""
        while True:
            try:
                pid = pid_file.holder()
            except OSError as error:
                raise from_os_error("cannot tell whether echod runs", error) from None
            if pid == 0:
                return None
            if pid < 0:
                raise EchodError(f"{pid_file.path}: locked, but not by an echod that can be seen from here")
            try:
                pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            if pid_file.holder() == pid:
                return cls(pid, pidfd, pid_file.path)
            os.close(pidfd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._pidfd)

    def board(self) -> Scoreboard:
        """Map the scoreboard, for reading. Raises EchodError."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise from_os_error(f"process {self.pid} runs, but its scoreboard cannot be read", error) from None
        try:
            board = Scoreboard(fd, writable=False)
        except (OSError, ValueError):
            raise EchodError(f"{self._path}: is not a scoreboard") from None
        finally:
            os.close(fd)
        if board.words[scoreboard.MAGIC] != scoreboard.VERSION:
            raise EchodError(f"{self._path}: is the scoreboard of another version of echod; restart the daemon")
        return board

    def send(self, signum: signal.Signals) -> None:
        """Signal it; nothing happens when it has just ended. Raises EchodError when not permitted."""
        try:
            signal.pidfd_send_signal(self._pidfd, signum)
        except ProcessLookupError:
            pass
        except PermissionError:
            message = f"cannot signal process {self.pid}: it is another user's; be root or that user"
            raise EchodError(message, NOT_PERMITTED) from None

    def wait(self, timeout: float | None) -> bool:
        """Wait until it is gone; False when the time, in seconds, is over first."""
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        return bool(poller.poll(None if timeout is None else timeout * 1000))

    def ask(self, signum: signal.Signals, begun: int, done: int, code: int) -> tuple[int, dict[str, str]]:
        """Send a signal and wait for its outcome on the scoreboard: the exit code and the texts. Raises EchodError.

        Requests are numbered. One that has begun before our signal may have read the file before our change to it: the
        outcome awaited is that of a later one.
        """
        words = self.board().words
        wanted = words[begun] + 1
        self.send(signum)
        deadline = time.monotonic() + REPLY
        while words[done] < wanted:
            if self.wait(POLL_INTERVAL):
                raise EchodError(f"process {self.pid} ended instead; its log may say why", NOT_RUNNING)
            if time.monotonic() > deadline:
                raise EchodError(f"process {self.pid} has not answered for {REPLY:.0f} s; it goes on as before", FAILED)
        return int(words[code]), self.board().texts()

    def reload(self) -> tuple[int, dict[str, str]]:
        """Have it read its config; see `ask`."""
        board = scoreboard
        return self.ask(signal.SIGHUP, board.RELOADS_BEGUN, board.RELOADS_DONE, board.RELOAD_CODE)

    def reopen(self) -> tuple[int, dict[str, str]]:
        """Have it open its log again; see `ask`."""
        board = scoreboard
        return self.ask(signal.SIGUSR1, board.REOPENS_BEGUN, board.REOPENS_DONE, board.REOPEN_CODE)

    def kill(self) -> None:
        """End it and its children at once. Its children are asked of the kernel, before they become init's."""
        children = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                pidfd = os.pidfd_open(int(entry))
                with open(f"/proc/{entry}/stat", "rb") as stat:
                    parent = int(stat.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue
            children.append(pidfd) if parent == self.pid else os.close(pidfd)
        for pidfd in (self._pidfd, *children):
            try:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for pidfd in children:
            os.close(pidfd)
