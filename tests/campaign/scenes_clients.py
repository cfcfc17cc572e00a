"""Scenes in which clients come and go."""

from __future__ import annotations

from campaign.scene import Scene


class Idle(Scene):
    """The daemon waits; the one client there is echoes."""

    name = "idle"

    def act(self):
        self.target.bystander.echo(100)


class OneClient(Scene):
    name = "one client"

    def act(self):
        self.connect().echo(1000).finish()
        self.target.await_clients(1)


class Burst(Scene):
    """Many clients at the same moment."""

    name = "burst"

    def act(self):
        for _ in range(20):
            self.connect().send(500)
        for client in self.clients:
            client.receive()
        self.finish()
        self.target.await_clients(1)


class OneClientAtDebug(OneClient):
    name = "one client, debug"

    def settings(self):
        return {"log_level": "debug"}


class Rules(Scene):
    """Clients are counted by source, and one comes from where nobody may."""

    name = "rules"
    refusals = 1

    def settings(self):
        return {"max_children_per_source": 5, "deny": f"{self.target.host(9)}/32"}

    def act(self):
        self.connect().echo(1000)
        self.connect(source=self.target.host(9)).finish()
        self.finish()
        self.target.await_clients(1)


class Proxied(Scene):
    """A load balancer names its clients; one of them is rejected."""

    name = "proxied"
    refusals = 1

    def settings(self):
        return {"proxy_from": f"{self.target.host(8)}/32", "deny": "192.0.2.66/32"}

    def act(self):
        for host in (7, 66):
            client = self.connect(source=self.target.host(8))
            client.send_header(f"PROXY TCP4 192.0.2.{host} 192.0.2.1 5151 7\r\n")
        self.clients[0].echo(1000)
        self.finish()
        self.target.await_clients(1)


class Full(Scene):
    """At the cap; who waits is served when another leaves."""

    name = "full"

    def settings(self):
        return {"max_children": 3}

    def act(self):
        first, second = self.connect().echo(100), self.connect().echo(100)
        waiting = [self.connect().send(100), self.connect().send(100)]
        first.finish()
        waiting[0].receive()
        second.finish()
        self.finish()
        self.target.await_clients(1)


class FullRefusing(Scene):
    name = "full, refusing"
    refusals = 2

    def settings(self):
        return {"max_children": 2, "over_limit": "refuse"}

    def act(self):
        self.connect().echo(100)
        self.connect().finish()
        self.connect().finish()
        self.finish()
        self.target.await_clients(1)
