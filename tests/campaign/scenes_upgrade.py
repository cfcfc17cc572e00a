"""Scenes in which the daemon is to execute the installed version in its own place."""

from __future__ import annotations

from campaign.client import WrongError
from campaign.commands import command
from campaign.scene import Scene


class Upgrade(Scene):
    """A client is there meanwhile. Once the new version is executed there is none to go back to."""

    name = "upgrade"
    until = "execve"

    def act(self):
        self.connect().echo(100)
        self.done = command(self.target.echod, "upgrade")
        if self.done.returncode not in (0, 1) or len(self.done.stderr.splitlines()) > 1:
            raise WrongError(f"upgrade exits with {self.done.returncode}: {self.done.stdout}{self.done.stderr}")
        self.clients[0].echo(100)
        self.connect().echo(100)
        self.finish()
        self.target.await_clients(1)

    def check(self):
        if not self.call and self.done.returncode:
            raise WrongError(f"upgrade failed: {self.done.stderr}")


class UpgradeTrial(Upgrade):
    """The calls of the trial fail."""

    name = "upgrade, trial"
    follow = True
    refusals = 1  # strace counts in each process: both clients' children are hit, too
    until = ""
