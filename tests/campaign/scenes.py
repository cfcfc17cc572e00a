"""What the daemon is doing while a call fails. Each scene is acted out by clients and commands, and checks itself."""

from __future__ import annotations

import os
import signal

from campaign.client import LOST, SERVED, STUCK, Client, WrongError
from campaign.target import PORT, until

NOT_LOCAL = "192.0.2.77"  # TEST-NET-1 (RFC 5737): no address of this machine
COSTLY = ("clone", "clone3", "fork", "vfork", "mmap", "brk", "mremap")  # these may cost the one client
NOT_CLOSED = ("close", "close_range")  # failed by strace they leave the descriptor open, as a real close does not


class Scene:
    """`settings` of the daemon; `act` during the fault, `check` after it; `ends`: the daemon is gone then."""

    name = ""
    settings: dict = {}
    owner = "nobody"  # of the directory
    child = follow = ends = False  # whether a client's child is failed, or parent and each new child; or it ends
    refusals = 0

    def __init__(self, target, call=""):
        self.target = target
        self.call = call  # the system call that fails, if any
        self.clients = []
        self.noted = 0  # how many bytes the client who must notice nothing had got before it

    def connect(self, host=1, **kwargs):
        if self.call in NOT_CLOSED:
            kwargs["timeout"] = 0.5
        self.clients.append(Client((self.target.host(host), PORT), **kwargs))
        return self.clients[-1]

    def prepare(self):
        """Bring the daemon to where the scene begins, and return the process to be failed."""
        return self.target.pid

    def act(self):
        """Play the scene."""

    def finish(self):
        """Have every client end that has not."""
        for client in self.clients:
            client.finish()

    def check(self):
        """Look at what the scene was to bring about."""

    def lost(self):
        """Fail where more clients noticed than the fault, or the scene, may cost."""
        most = self.refusals + (self.child or self.follow or self.call in COSTLY)
        bad = [client for client in self.clients if client.outcome == LOST]
        if len(bad) > most:
            raise WrongError(f"{len(bad)} of {len(self.clients)} clients lost, {most} may be")
        for client in self.clients:
            whole = client.back == len(client.sent)
            if client.outcome == STUCK and not (self.call in NOT_CLOSED and whole):
                raise WrongError(f"a client got {client.back} of {len(client.sent)} bytes, then nothing")


class Idle(Scene):
    """The daemon waits; the one client there is echoes."""

    name = "idle"

    def act(self):
        self.target.bystander.echo(100)


class OneClient(Scene):
    name = "one client"

    def act(self):
        self.connect().echo(1000).finish()
        self.target.settle(1)


class Burst(Scene):
    """Many clients at the same moment."""

    name = "burst"

    def act(self):
        for _ in range(20):
            self.connect().send(500)
        for client in self.clients:
            client.receive()
        self.finish()
        self.target.settle(1)


class OneClientAtDebug(OneClient):
    name = "one client, debug"
    settings = {"log_level": "debug"}


class Rules(Scene):
    """Clients are counted by source, and one comes from where nobody may."""

    name = "rules"
    refusals = 1

    def __init__(self, target, call=""):
        super().__init__(target, call)
        self.settings = {"max_children_per_source": "5", "deny": f"{target.host(9)}/32"}

    def act(self):
        self.connect().echo(1000)
        self.connect(source=self.target.host(9)).finish()
        self.finish()
        self.target.settle(1)


class Full(Scene):
    """At the cap; who waits is served when another leaves."""

    name = "full"
    settings = {"max_children": "3"}

    def act(self):
        first, second = self.connect().echo(100), self.connect().echo(100)
        waiting = [self.connect().send(100), self.connect().send(100)]
        first.finish()
        waiting[0].receive()
        second.finish()
        self.finish()
        self.target.settle(1)


class FullRefusing(Scene):
    name = "full, refusing"
    settings = {"max_children": "2", "over_limit": "refuse"}
    refusals = 2

    def act(self):
        self.connect().echo(100)
        self.connect().finish()
        self.connect().finish()
        self.finish()
        self.target.settle(1)


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
        self.done = self.target.echod.run("reload")
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
        told = self.target.status()
        if now:
            self.connect(now).echo(100).finish()
            if told["max_children"] != 100 + now or f"{self.target.host(now)}:{PORT}" not in told["listen"]:
                raise WrongError(f"reload exits with {self.done.returncode}, but half of the settings are in force: {told}")
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
        self.done = self.target.echod.run("reopen")
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


class Stop(Scene):
    """SIGTERM without clients."""

    name = "stop"
    ends = True

    def prepare(self):
        self.target.bystander.finish()
        self.target.settle(0)
        return super().prepare()

    def act(self):
        os.kill(self.target.pid, signal.SIGTERM)
        self.outcome = self.target.ended()

    def check(self):
        """Look at what has to be there after an end in order."""
        if self.outcome != "exit code 0":
            raise WrongError(f"{self.outcome}; {self.target.crash() or self.target.last_words()}")
        if self.call != "write" and not self.target.echod.events("stopped"):
            raise WrongError("'stopped' is not in the log")
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


class ChildBegins(OneClient):
    name = "child, from its fork"
    follow = True


class ChildEchoes(Scene):
    """More than fits the first buffer, then the client's FIN."""

    name = "child, echo"
    child = True

    def prepare(self):
        return self.target.child_of(self.connect().echo(10))

    def act(self):
        for _ in range(4):
            self.clients[0].echo(50_000)
        self.finish()
        self.target.settle(1)


class ChildIdles(ChildEchoes):
    """A limit ends the client: set for this one only, and not for the one who must notice nothing."""

    name = "child, idle"
    limit = "idle_timeout"

    def prepare(self):
        echod = self.target.echod
        before = echod.settings.get(self.limit)
        echod.write(**{self.limit: "1s"})
        echod.run("reload", check=0)
        pid = super().prepare()
        echod.write(**{self.limit: before})
        echod.run("reload", check=0)
        return pid

    def act(self):
        self.clients[0].finish(half_close=False)
        self.target.settle(1)


class ChildLifetime(ChildIdles):
    name = "child, lifetime"
    limit = "max_lifetime"


class ChildDrains(Drain):
    name = "child, drain"
    child = True

    def prepare(self):
        super().prepare()
        return self.target.child_of(self.clients[1])


SCENES = {
    scene.name: scene
    for scene in (
        Idle, OneClient, OneClientAtDebug, Burst, Rules, Full, FullRefusing, Reload, ReloadChanges, ReloadFails,
        Reopen, Drain, Stop, StopRootsDirectory, ChildBegins, ChildEchoes, ChildIdles, ChildLifetime,
        ChildDrains,
    )
}  # fmt: skip
__all__ = ["SCENES", "SERVED", "Scene"]
