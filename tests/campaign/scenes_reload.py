"""Scenes in which the daemon is told to read its config, or to open its log, again."""

from __future__ import annotations

import os

from campaign.client import Client, WrongError
from campaign.commands import command
from campaign.scene import Scene
from campaign.target import PORT, until

NOT_LOCAL = "192.0.2.77"  # TEST-NET-1 (RFC 5737): no address of this machine


class Reload(Scene):
    """SIGHUP; `moves` when there is something to change."""

    name = "reload"
    failing = False

    def prepare(self):
        listed = self.target.status()["listen"]
        self.before = next((n for n in (2, 3) if f"{self.target.host(n)}:{PORT}" in listed), 0)
        self.write()
        return super().prepare()

    def write(self):
        """Write the config that is to be read."""

    def act(self):
        self.generation = self.target.status()["generation"]
        self.done = command(self.target.echod, "reload")
        if self.done.returncode not in (0, 1, 4, 6) or len(self.done.stderr.splitlines()) > 1:
            raise WrongError(f"reload exits with {self.done.returncode}: {self.done.stdout}{self.done.stderr}")

    def check(self):
        done = self.done.returncode == 0
        if self.failing and done:
            raise WrongError("a reload that must fail did not")
        if not self.call and not self.failing and not done:
            raise WrongError(f"reload failed: {self.done.stderr}")
        if self.target.status()["generation"] != self.generation + done:
            raise WrongError(f"generation is wrong after: {self.done.stdout}{self.done.stderr}")
        return done


class ReloadChanges(Reload):
    """`listen`, `log` and `max_children` change; a client waits at the address that goes."""

    name = "reload, changes"

    def write(self):
        self.after = 5 - self.before if self.before else 2
        hosts = [f"{self.target.host(n)}:{PORT}" for n in (1, self.after)]
        self.target.echod.log = self.target.home / f"{self.after}.log"
        self.target.echod.write(
            listen=" ".join(hosts), max_children=100 + self.after, log=self.target.home / f"{self.after}.log"
        )

    def act(self):
        if self.before:
            self.connect(self.before).send(100)
        super().act()
        self.finish()

    def check(self):
        done = super().check()
        now, gone = (self.after, self.before) if done else (self.before, self.after)
        found = self.target.status()
        if now:
            self.connect(now).echo(100).finish()
            if found["max_children"] != 100 + now or f"{self.target.host(now)}:{PORT}" not in found["listen"]:
                raise WrongError(
                    f"reload exits with {self.done.returncode}, but half of the settings are in force: {found}"
                )
        if gone and self.call != "close":
            try:
                Client((self.target.host(gone), PORT)).finish()
            except ConnectionRefusedError:
                return done
            raise WrongError(f"after reload ({self.done.returncode}) an address that is not listed is listened to")
        return done


class ReloadFails(Reload):
    """One of the new addresses cannot be bound: nothing changes."""

    name = "reload, failing"
    failing = True

    def write(self):
        hosts = [f"{self.target.host(1)}:{PORT}", f"{self.target.host(4)}:{PORT}", f"{NOT_LOCAL}:{PORT}"]
        self.target.echod.write(listen=" ".join(hosts), log=self.target.home / "never.log")

    def check(self):
        super().check()
        if self.target.status()["listen"] != [f"{self.target.host(1)}:{PORT}"]:
            raise WrongError("a reload that failed has changed the addresses")


class Reopen(Scene):
    """The log has been rotated."""

    name = "reopen"

    def prepare(self):
        self.log = self.target.echod.log
        os.replace(self.log, f"{self.log}.1")
        return super().prepare()

    def act(self):
        self.done = command(self.target.echod, "reopen")
        if self.done.returncode not in (0, 1, 4) or len(self.done.stderr.splitlines()) > 1:
            raise WrongError(f"reopen exits with {self.done.returncode}: {self.done.stdout}{self.done.stderr}")

    def check(self):
        new = self.done.returncode == 0
        used = self.log if new else self.log.with_name(f"{self.log.name}.1")
        if new and not self.log.exists():
            raise WrongError("reopen exits with 0, and there is no new log")
        client = self.connect().echo(10).finish()
        until(lambda: f"close peer={client.name}" in used.read_text(), f"the client's line in {used.name}")
        if not new:
            os.replace(used, self.log)
