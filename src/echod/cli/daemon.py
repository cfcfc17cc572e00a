"""A running daemon, seen from outside: found by the lock it holds, signalled and awaited through a handle.

It never touches an unrelated process, whatever the pid file says. After a command has learnt the holder's pid, and
before it opens the handle, the process may end and another may get its number. So the command asks for the holder again
once the handle is open; from then on the handle stands for that process.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from functools import partial

from echod.cli import netstat, proc
from echod.cli.context import board_path, rights_of, user_name
from echod.cli.locks import POLL_INTERVAL_S, controllers, open_plain
from echod.cli.machine import Handle, lacks, missing_capabilities, owner_of
from echod.common import scoreboard
from echod.common.cmodules import signal
from echod.common.errors import FAILED, NOT_PERMITTED, NOT_RUNNING, EchodError, from_os_error
from echod.common.scoreboard import Scoreboard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from echod.cli.locks import LockedFile
    from echod.cli.pidfile import PidFile
    from echod.common.scoreboard import Copy

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BOOT = os.path.join(PACKAGE, "server", "boot.py")
INTERPRETER = [sys.executable, "-I", "-S"]  # what a server is executed with, and BOOT after it
REPLY_S = 30.0  # for a reload, a reopen or a start: binding may ask the DNS
LEAVING_S = 1.0  # for a daemon that has removed its files to end
RELOAD = signal.SIGHUP, scoreboard.RELOADS_BEGUN, scoreboard.RELOADS_DONE, scoreboard.RELOAD_CODE
UPGRADE = signal.SIGUSR2, scoreboard.UPGRADES_BEGUN, scoreboard.UPGRADES_DONE, scoreboard.UPGRADE_CODE
REOPEN = signal.SIGUSR1, scoreboard.REOPENS_BEGUN, scoreboard.REOPENS_DONE, scoreboard.REOPEN_CODE
KILLED_S = 30.0  # for a process that SIGKILL was sent to: a device may hold it up


class Daemon:
    """The running daemon: its `pid`, a handle that stands for the process, and its scoreboard."""

    def __init__(self, handle: Handle, pid_file: PidFile | LockedFile) -> None:
        self.pid = handle.pid
        self._handle = handle
        self._pid_file = pid_file
        self._path = board_path(pid_file.path)

    @classmethod
    def find(cls, pid_file: PidFile | LockedFile) -> Daemon | None:
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
            with contextlib.suppress(ProcessLookupError):  # it ended: look who holds the lock now
                return cls(Handle(pid, partial(holds, pid_file, pid)), pid_file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._handle.close()

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
            wrong = self._is_not_its(board)
        except (OSError, ValueError):
            wrong = "is not a scoreboard"
        finally:
            os.close(fd)
        if wrong and self.wait(LEAVING_S):  # it is the one of the next daemon, which may not be complete yet
            raise EchodError(f"process {self.pid} has just ended", NOT_RUNNING)
        if wrong:
            raise EchodError(f"{self._path}: {wrong}")
        return board

    def _is_not_its(self, board: Scoreboard) -> str:
        """Return why this is not the scoreboard of the process, or nothing."""
        words = board.words
        if words[scoreboard.MAGIC] != scoreboard.VERSION:
            return "is the scoreboard of another version of echod; restart the daemon"
        if words[scoreboard.PID] != self.pid:
            return f"is not the scoreboard of process {self.pid}; restart the daemon"
        return ""

    def names(self) -> list[str]:
        """Return the addresses that it says it listens on; none if that is unknown."""
        try:
            return self.board().copy().listen()
        except EchodError:
            return []

    def overrides(self) -> list[str]:
        """Return the -o options that it was started with. Raises EchodError if they are unknown."""
        return list(self.board().copy().overrides())

    def listens(self) -> bool:
        """Return True if the kernel knows a listening socket of the process."""
        with contextlib.suppress(OSError):
            held = {target for _, target in proc.descriptors(self.pid)}
            found = (one for family in netstat.FAMILIES for one in netstat.listeners(self.pid, family))
            return any(netstat.link_of(inode) in held for inode, *_ in found)
        return False

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
            self._handle.send(signum)

    def _is_server(self) -> bool:
        """Return True if the process is a server of echod's with this pid file, and not a program that holds its lock.

        Record locks survive execve(2): a user who holds the lock can execute a setuid program with any arguments. That
        is another program than our interpreter, or it is a script other than the server's, or its uids differ.
        """
        with contextlib.suppress(OSError, KeyError):
            words, uids = proc.command_line(self.pid), set(proc.status(self.pid)["Uid"].split())
            try:
                is_ours = proc.link(self.pid, "exe").removesuffix(" (deleted)") == os.path.realpath(sys.executable)
            except PermissionError:  # in another user namespace: this user may signal its own processes by hand, too
                is_ours = uids == {str(os.geteuid())}
            return (
                is_ours
                and words[1 : len(INTERPRETER) + 1] == [*INTERPRETER[1:], BOOT]
                and f"pid_file={self._pid_file.path}" in words[len(INTERPRETER) + 1 :]
                and len(uids) == 1
            )
        return False

    @contextlib.contextmanager
    def _rights(self) -> Iterator[None]:
        """Take the rights of the user who made this process the holder, unless it is a server. Raises EchodError."""
        uids = controllers(self._pid_file.path) if os.geteuid() == 0 and not self._is_server() else set()
        if not uids and missing_capabilities("CAP_KILL"):  # then a user's own rights are enough, and root may take them
            uids = owner_of(self.pid) - {0}
        try:
            with rights_of(uids):
                yield
        except PermissionError:
            why = "it is another user's; be root or that user"
            if uids:
                names = ", ".join(map(user_name, sorted(uids)))
                why = f"{self._pid_file.path} can be replaced by {names}, who may not signal it"
            raise EchodError(
                f"cannot signal process {self.pid}: {why}{lacks('CAP_KILL', 'CAP_SETUID')}", NOT_PERMITTED
            ) from None

    def wait(self, timeout: float | None) -> bool:
        """Wait until it has ended; return False if the time, in seconds, is over first."""
        return self._handle.wait(timeout)

    def ask(self, signum: signal.Signals, begun: int, done: int, code: int) -> tuple[int, Copy]:
        """Send a signal and wait for its outcome: the exit code, and the scoreboard that has it. Raises EchodError.

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
        copy = board.copy()
        return copy.code(code), copy

    def kill(self) -> None:
        """End it and its children immediately, and wait for its end. Raises EchodError, OSError.

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
        if not self.wait(KILLED_S):
            raise EchodError(
                f"process {self.pid} was killed {KILLED_S:g} s ago and still exists; a device may hold it up"
            )

    def _kill_child(self, pid: int) -> bool:
        """End a process if it is a child of the daemon; return True if it is."""
        try:
            with Handle(pid, lambda: proc.parent_of(pid) == self.pid) as child, self._rights():
                child.send(signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError, PermissionError):  # hidepid: another user's (proc(5))
            return False
        return True


def holds(pid_file: PidFile | LockedFile, pid: int) -> bool:
    """Return True if a process holds the lock. Raises OSError."""
    return pid_file.holder() == pid
