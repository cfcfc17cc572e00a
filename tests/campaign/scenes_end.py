"""Scenes in which the daemon is told to end."""

from __future__ import annotations

import os
import signal

from campaign.client import WrongError
from campaign.scene import Scene
from campaign.target import until

LOGGING = ("write", "sendto", "socket", "connect")  # the last line is lost when one of these fails


class Stop(Scene):
    """SIGTERM without clients."""

    name = "stop"
    ends = True

    def prepare(self):
        self.target.bystander.finish()
        self.target.await_clients(0)
        return super().prepare()

    def act(self):
        os.kill(self.target.pid, signal.SIGTERM)
        self.outcome = self.target.ended()

    def check(self):
        """Look at what has to be there after an end in order."""
        if self.outcome != "exit code 0":
            raise WrongError(f"{self.outcome}; {self.target.crash() or self.target.last_words()}")
        if self.call not in LOGGING:
            until(lambda: self.target.echod.events("stopped"), "'stopped' in the log")
        pid_file = self.target.echod.pid_file
        if pid_file.exists() and pid_file.read_text() and not (self.owner == "root" and self.call == "ftruncate"):
            raise WrongError("the pid file is still there, and not empty")


class StopRootsDirectory(Stop):
    """The daemon's user may not remove its files."""

    name = "stop, directory of root's"
    owner = "root"


class Drain(Stop):
    """SIGTERM while clients have something under way."""

    name = "drain"

    def prepare(self):
        self.connect().echo(100)
        self.connect().echo(100).send(60_000)
        self.clients.append(self.target.bystander)
        return self.target.pid

    def act(self):
        super().act()
        for client in self.clients:
            client.receive().finish(half_close=False)
