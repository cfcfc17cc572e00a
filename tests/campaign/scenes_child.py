"""Scenes in which it is a client's child whose calls fail."""

from __future__ import annotations

from campaign.commands import reload
from campaign.scene import Scene
from campaign.scenes_clients import OneClient, Proxied
from campaign.scenes_end import Drain


class ChildBegins(OneClient):
    name = "child, from its fork"
    follow = True


class ChildBeginsProxied(Proxied):
    name = "child, proxied"
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
        self.target.await_clients(1)


class ChildIdles(ChildEchoes):
    """A limit ends the client: set for this one only, and not for the one who must notice nothing."""

    name = "child, idle"
    limit = "idle_timeout"

    def prepare(self):
        self.set_limit("2s")  # a busy machine takes its time to attach strace to the child
        return super().prepare()

    def set_limit(self, value):
        self.target.echod.write(**{self.limit: value})
        reload(self.target)

    def act(self):
        self.clients[0].finish(half_close=False)
        self.target.await_clients(1)

    def check(self):
        self.set_limit(None)


class ChildLifetime(ChildIdles):
    name = "child, lifetime"
    limit = "max_lifetime"


class ChildDrains(Drain):
    name = "child, drain"
    child = True

    def prepare(self):
        super().prepare()
        return self.target.child_of(self.clients[1])
