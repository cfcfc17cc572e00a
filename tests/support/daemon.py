"""A daemon of the test's own, used through the command `echod` as people use it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

import echod as package
from echod.cli.pidfile import PidFile
from echod.cli.status.command import copy_of
from echod.cli.status.snapshot import snapshot
from echod.common.errors import EchodError
from support.wait import DEADLINE, alive, wait_for

SOURCE = Path(package.__file__).parent
LOOK_S = 2.0  # for the daemon to record its children
ECHOD = os.path.join(os.path.dirname(sys.executable), "echod")


def give(path, user="nobody"):
    """Have a file or directory belong to the user that root's daemon serves as."""
    if os.geteuid() == 0:
        shutil.chown(path, user)


def children_of(pid):
    """Return the pids of a process's children, exited ones too (proc(5), task/TID/children)."""
    with contextlib.suppress(OSError):
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    return []


def clients_of(pid):
    """Return the pids of a daemon's children that serve a client."""
    found = []
    for child in children_of(pid):
        with contextlib.suppress(OSError):
            if b"--trial" not in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                found.append(child)
    return found


def is_stopped(pid):
    """Return True if a signal or a debugger has stopped a process, or if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "tTZ"
    except OSError:
        return True


class Echod:
    """A daemon of the test's own, on a free port of 127.0.0.1, with all its files below `home`."""

    def __init__(self, home: Path, *, prefix=(), **settings):
        """Keep its files in `home`; `prefix` goes before every command, to run it in a namespace, say."""
        self.home = home
        self.prefix = prefix
        self.config = home / "echod.conf"
        self.pid_file = home / "echod.pid"
        self.log = home / "echod.log"
        self.settings = {
            "listen": "127.0.0.1:0",
            "pid_file": str(self.pid_file),
            "log": str(self.log),
            "drain_timeout": "5s",
        }
        self.write(**settings)
        self.started: list[subprocess.Popen] = []

    def write(self, **settings):
        """Write the config file with these settings changed; None leaves one out."""
        self.settings |= settings
        lines = [f"{key} = {value}" for key, value in self.settings.items() if value is not None]
        self.config.write_text("\n".join(["[echod]", *lines, ""]))

    def command(self, *words):
        """Return the command line `echod -c CONFIG WORDS…`."""
        return [*self.prefix, ECHOD, "-c", str(self.config), *map(str, words)]

    def run(self, *words, check=None, **kwargs):
        """Run `echod -c CONFIG WORDS…`; `check` is the exit code that is expected."""
        kwargs.setdefault("timeout", 60)
        done = subprocess.run(self.command(*words), check=False, capture_output=True, text=True, **kwargs)
        assert "Traceback" not in done.stderr, done.stderr
        if check is not None:
            assert done.returncode == check, (done.returncode, done.stdout, done.stderr)
        return done

    def start(self, **settings):
        """Write the settings, start, and return self."""
        if settings:
            self.write(**settings)
        self.run("start", check=0)
        return self

    def foreground(self, *words, **kwargs):
        """Start `echod run` and return the process once it serves."""
        process = subprocess.Popen(self.command(*words, "run"), **kwargs)
        self.started.append(process)
        wait_for(lambda: self.status_or_none() or process.poll() is not None, "echod run")
        return process

    @property
    def pid(self):
        return int(self.pid_file.read_text())

    def pid_or_zero(self):
        """Return the number in the pid file; 0 if there is none."""
        with contextlib.suppress(OSError, ValueError):
            return self.pid
        return 0

    def status(self):
        """Return what `status --json` prints; fail the test if no daemon runs."""
        state = self._look()
        assert state is not None, "the daemon does not run"
        return state

    def status_or_none(self):
        """Return the status of a daemon that has started, or None."""
        with contextlib.suppress(EchodError, OSError):  # for the command this is exit code 4
            state = self._look()
            return state if state and state["state"] != "starting" else None
        return None

    def _look(self):
        """Return the status, or None if no daemon runs.

        A process for each look would take most of the processor's time, since tests look until something has happened.
        A test whose commands run elsewhere (`prefix`: another namespace, another version) looks with those.
        """
        if not self.prefix:
            return self._look_here()
        done = self.run("status", "--json")
        return json.loads(done.stdout) if done.returncode == 0 else None

    def _look_here(self):
        """Return the status once the daemon has recorded its children, which it does after a quiet moment.

        A daemon that is stopped records none, nor does any daemon record the trial of an upgrade.
        """
        end = time.monotonic() + LOOK_S
        while True:
            children = clients_of(self.pid_or_zero())  # first: a child that is reaped next is in the copy as closed
            copy = copy_of(PidFile(str(self.pid_file)))
            if copy is None:
                return None
            state = snapshot(copy)
            if state["clients"] == len(children) or is_stopped(self.pid_or_zero()) or time.monotonic() > end:
                return state
            time.sleep(0.005)

    @property
    def address(self):
        host, _, port = self.status()["listen"][0].rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def port(self):
        return self.address[1]

    def connect(self, **kwargs):
        return socket.create_connection(self.address, timeout=DEADLINE, **kwargs)

    def process(self):
        return psutil.Process(self.pid)

    def children(self):
        return self.process().children()

    def events(self, verb=None):
        """Return the log's lines without time and ident; only those that begin with `verb`."""
        if not self.log.exists():
            return []
        texts = [line.split("]: ", 1)[1] for line in self.log.read_text().splitlines() if "]: " in line]
        return [text for text in texts if verb is None or text.split()[0] == verb]

    def wait_idle(self):
        """Wait until no client is left and every child has been reaped."""
        wait_for(lambda: not self.status()["clients"] and not self.children(), "all clients gone")
        return self.status()

    def cleanup(self):
        """End what the test has started, and see that nothing is left."""
        family = []
        with contextlib.suppress(Exception):
            process = self.process()
            if any("echod" in word for word in process.cmdline()):
                family = [process, *process.children(recursive=True)]
        self.run("stop", "--timeout", "10", "--force")
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait(DEADLINE)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        wait_for(lambda: not any(alive(process.pid) for process in family), "the processes to be gone")
        assert not (self.home / "echod.pid.scoreboard").exists() or self.pid_file.exists()
