"""A scene: what the daemon is doing while a call fails, acted out by clients and commands; it checks itself."""

from __future__ import annotations

from typing import Any

from campaign.client import LOST, STUCK, Client, WrongError
from campaign.target import PORT

# These may cost the one client that they are made for, if it is counted as refused
COSTLY = ("clone", "clone3", "fork", "vfork", "mmap", "brk", "mremap", "rt_sigaction")
NOT_CLOSED = ("close", "close_range")  # failed by strace they leave the descriptor open, as a real close does not


class Scene:
    """`settings` of the daemon; `act` during the fault, `check` after it; `ends`: the daemon is gone then."""

    name = ""
    owner = "nobody"  # of the directory
    child = follow = ends = False  # whether a client's child is failed, or parent and each new child; or it ends
    refusals = 0
    until = ""  # the name of a call after which none is failed

    def settings(self) -> dict[str, Any]:
        """Return what the daemon is started with."""
        return {}

    def __init__(self, target, call=""):
        self.target = target
        self.call = call  # the system call that fails, if any
        self.clients = []
        self.noted = 0  # how many bytes the client who must notice nothing had got before it

    def start(self):
        """Start the daemon."""
        self.target.echod.run("start", check=0)

    def connect(self, host=1, **kwargs):
        if self.call in NOT_CLOSED:
            kwargs["last"] = 0.5
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
