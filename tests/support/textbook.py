"""The server of examples/, whole or with one of its mistakes, used as the tests use echod."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil

from support.wait import DEADLINE, alive, need, wait_for

EXAMPLES = Path(__file__).parents[2] / "examples"
MISTAKES = sorted(path.stem for path in (EXAMPLES / "mistakes").glob("*.diff"))


class Textbook:
    """The textbook's server on a free port of 127.0.0.1, with all its files below `home`."""

    def __init__(self, home: Path, mistake: str = "", *, cap: int = 100):
        """Write the program; `mistake` names the diff that is applied to it."""
        self.home, self.pid_file, self.log = home, home / "textbook.pid", home / "textbook.log"
        self.mistaken = bool(mistake)
        self.program = home / "textbook.py"
        self.program.write_text((EXAMPLES / "textbook.py").read_text().replace("CAP = 100", f"CAP = {cap}"))
        if mistake:
            diff = EXAMPLES / "mistakes" / f"{mistake}.diff"
            subprocess.run([need("patch"), "-s", self.program, diff], check=True, timeout=DEADLINE)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._sessions: set[int | None] = set()
        self._started: list[subprocess.Popen] = []

    def start(self, *, prefix=(), log=""):
        """Start it, behind `prefix`, and return whether it has come up."""
        words = [*prefix, sys.executable, self.program, str(self.port), self.pid_file, log or self.log]
        before, logged = self.pid, len(self._logged())
        null, environment = subprocess.DEVNULL, {**os.environ, "PYTHONUNBUFFERED": ""}
        self._started.append(subprocess.Popen(words, stdin=null, stdout=null, stderr=null, env=environment))
        wait_for(lambda: self._up(before) or "Error" in self._logged()[logged:], "the server, or its error")
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):  # where it has ended already
            if self._up(before):
                self._process = psutil.Process(self.pid)
                self._sessions.add(os.getsid(self._process.pid))
                return True
        return False

    def _up(self, before):
        return self.pid not in (0, before) and alive(self.pid)

    def _logged(self):
        return self.log.read_text() if self.log.exists() else ""

    @property
    def pid(self):
        """The number in the pid file, 0 where there is none."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int(self.pid_file.read_text())
        return 0

    def connect(self):
        """Return a connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)

    def children(self):
        """Return the processes of its clients, zombies too."""
        return self._process.children()

    def kill(self):
        """End the server as kill -9 does; its children go on."""
        self._process.kill()
        wait_for(lambda: not alive(self._process.pid), "its end")

    def cleanup(self):
        """End what is left of it."""
        for pid in self._left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self._left(), "the processes to be gone")
        for process in self._started:
            process.wait(DEADLINE)

    def _left(self):
        """Return the pids of the sessions that it began."""
        return [pid for pid in psutil.pids() if session_of(pid) in self._sessions and alive(pid)]


def session_of(pid):
    """Return the session of a process, None where it is gone."""
    with contextlib.suppress(ProcessLookupError):
        return os.getsid(pid)
