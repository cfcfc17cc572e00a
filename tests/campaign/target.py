"""The daemon that calls are failed in: started as root, serving as nobody, with its own addresses and files."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import psutil

from campaign.client import Client, WrongError
from campaign.commands import command
from support.daemon import Echod
from support.processes import state, wakeups

PORT = 7007
DEADLINE = 8.0  # seconds for whatever a case waits for
COUNTERS = ("accepted", "closed", "bytes_in", "bytes_out", "peak_clients", "generation")


class DeathError(Exception):
    """The daemon has ended though nobody told it to."""


def until(condition, what, deadline=DEADLINE):
    """Poll `condition` until it is true and return its value. Raises WrongError when that takes too long."""
    end = time.monotonic() + deadline
    while not (value := condition()):
        if time.monotonic() > end:
            raise WrongError(f"waited {deadline:g} s in vain for {what}")
        time.sleep(0.004)
    return value


class Target:
    """One daemon after the other, on addresses of its own: `host(n)`. The caller is the subreaper that they go to."""

    def __init__(self):
        self.home = Path(tempfile.mkdtemp(prefix="echod-inject-"))
        self.home.chmod(0o755)
        self.pid = self.traced = 0
        self.scene = ""
        self.streams = []  # to be closed at its end
        self.renew()

    def host(self, number):
        """Return the address with this number, of those that only this process uses."""
        return f"127.{64 + os.getpid() % 64}.{os.getpid() // 64 % 250}.{number}"

    def renew(self, owner="nobody", **settings):
        """Forget the settings of before; `owner` is whose the directory is."""
        shutil.chown(self.home, owner)
        self.echod = Echod(self.home, **({"drain_timeout": "4s", "listen": f"{self.host(1)}:{PORT}"} | settings))
        if owner != "nobody":
            self.echod.log.touch()
            shutil.chown(self.echod.log, "nobody")

    def start(self, scene):
        """Start it without faults, and have one client in it who must notice nothing."""
        scene.start()
        self.begun()
        self.bystander = Client((self.host(1), PORT)).echo(10)
        self.await_clients(1)

    def wait_until_running(self):
        """Wait for a daemon that was not started by `echod start`."""
        until(lambda: '"running"' in command(self.echod, "status", "--json").stdout, "the daemon to run", 30)

    def begun(self):
        """Remember the daemon that has started."""
        self.pid, self.counters = self.echod.pid, {}

    def status(self):
        """Return what the daemon says, once it has been seen that no counter has fallen. Raises DeathError."""
        done = command(self.echod, "status", "--json")
        if done.returncode != 0:
            self.alive()
            raise WrongError(f"status exits with {done.returncode}: {done.stdout}{done.stderr}".strip())
        found = json.loads(done.stdout)
        now = {name: found[name] for name in COUNTERS} | {f"refused {k}": v for k, v in found["refused"].items()}
        for name, value in now.items():
            if value < self.counters.get(name, 0):
                raise WrongError(f"{name} fell from {self.counters[name]} to {value}")
        self.counters = now
        return found

    def alive(self):
        """Raise DeathError when the daemon has ended."""
        if not psutil.pid_exists(self.pid) or state(self.pid) in "ZX":
            raise DeathError(f"{self.ended()}; {self.crash() or self.last_words()}")

    def ended(self, deadline=DEADLINE):
        """Wait until the daemon has ended; return how, for people. Raises WrongError."""
        pid, self.pid = self.pid, 0

        def gone():
            found, status = os.waitpid(pid, os.WNOHANG)
            return found and [status]

        code = os.waitstatus_to_exitcode(until(gone, "the daemon to end", deadline)[0])
        return f"exit code {code}" if code >= 0 else f"signal {-code}"

    def crash(self):
        """Return the log's line on a bug in the daemon, or in a child."""
        lines = [line for path in self.logs() for line in path.read_text(errors="replace").splitlines()]
        return next((line.partition(": ")[2] for line in reversed(lines) if " crash " in line or "CRASHED" in line), "")

    def logs(self):
        return sorted(self.home.glob("*.log*"))

    def last_words(self):
        lines = [line for path in self.logs() for line in path.read_text(errors="replace").splitlines()[-1:]]
        return " | ".join(lines) or "no log"

    def await_clients(self, clients):
        """Wait until so many clients are left, others are reaped, and the daemon sleeps; return its status."""

        def as_expected():
            self.alive()
            found = self.status()
            there = set(map(int, Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()))
            listed = {child["pid"] for child in found["children"]}
            self.seen = f"status {found['clients']} clients, {len(listed)} children; {len(there)} processes"
            counted = not clients or self.counted(found)
            if found["clients"] == len(listed) == clients and listed == there and counted:
                return found
            return None

        try:
            return until(lambda: as_expected() and self.asleep() and as_expected(), "")
        except WrongError as error:
            text = f"expected {clients} clients: {self.seen}" if "in vain" in str(error) else str(error)
            raise WrongError(text) from None

    def counted(self, found):
        """Tell whether the child of the client who notices nothing has counted its last echo: it does so after it."""
        rows = [row for row in found["children"] if row["peer"] == self.bystander.name]
        return not rows or rows[0]["bytes_out"] == self.bystander.back

    def asleep(self):
        """Tell whether the daemon neither runs nor wakes up for a few milliseconds."""
        before = wakeups(self.pid)
        time.sleep(0.012)
        if state(self.pid) in "St" and wakeups(self.pid) == before:
            return True
        self.seen += "; the daemon does not sleep"
        return False

    def child_of(self, client):
        """Return the process that serves a client."""
        return until(
            lambda: next((c["pid"] for c in self.status()["children"] if c["peer"] == client.name), 0), "a child"
        )

    def end(self):
        """End the daemon whatever its state, with all that came from it, and remove its files."""
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        with contextlib.suppress(ChildProcessError):
            while True:  # whose parent has died becomes this process's child
                os.waitpid(-1, 0)
        if getattr(self, "bystander", None):
            self.bystander.sock.close()
        self.pid = self.traced = 0
        self.scene = ""
        for stream in self.streams:
            stream.close()
        self.streams = []
        for path in self.home.iterdir():
            path.rmdir() if path.is_dir() else path.unlink()

    def close(self):
        self.end()
        shutil.rmtree(self.home)
