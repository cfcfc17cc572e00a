"""What disturbs a daemon under load: reloads, rotations, signals to it and to single children."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from collections import Counter

import psutil

from soak.clients import BALANCER_NET, LIMITED_NET
from support.processes import state
from support.wait import wait_for

FEW = "12"  # max_children, less than there are clients
PAUSE = 0.3  # seconds that a process is stopped for


class Disturber(threading.Thread):
    """Does one thing after another until told to stop. `killed` are the peers whose child it has killed."""

    def __init__(self, echod, watcher, settings, stop, seed):
        super().__init__(daemon=True)
        self.echod, self.watcher, self.settings, self.stop = echod, watcher, settings, stop
        self.dice = random.Random(seed)
        self.pid = echod.pid
        self.killed: set[str] = set()
        self.done: Counter[str] = Counter()
        self.errors: list[BaseException] = []

    def run(self):
        deeds = {
            self.reload: 4,
            self.rotate: 2,
            self.kill: 4,
            self.pause_child: 3,
            self.pause_daemon: 2,
            self.status: 1,
        }
        try:
            while not self.stop.wait(self.dice.uniform(0.1, 0.5)):
                deed = self.dice.choices([*deeds], [*deeds.values()])[0]
                deed()
                self.done[deed.__name__] += 1
        except BaseException as error:  # noqa: BLE001 - told by the thread that compares
            self.errors.append(error)

    def reload(self):
        chosen = {key: self.dice.choice(values) for key, values in self.settings.items()}
        if chosen["max_children"] == FEW:  # who waits at an address that goes is served as far as there is room
            chosen["listen"] = self.echod.settings["listen"]
        self.echod.write(**chosen)
        self.echod.run("reload", check=0)

    def rotate(self):
        """Move the log away; there is one name for each time."""
        number = 1
        while (old := self.echod.log.with_suffix(f".{number:03}")).exists():
            number += 1
        self.echod.log.rename(old)
        self.echod.run("reopen", check=0)
        assert self.echod.log.exists()

    def status(self):
        self.echod.run("status", check=0)

    def child(self):
        """Return the pid, peer and pidfd of one of the daemon's children, or None."""
        children = self.watcher.state()["children"]
        if not children:
            return None
        one = self.dice.choice(children)
        try:
            pidfd = os.pidfd_open(one["pid"])
        except ProcessLookupError:
            return None
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(one["pid"]).ppid() == self.pid:  # and while the pidfd is open, the number stays its own
                return one["pid"], one["peer"], pidfd
        os.close(pidfd)
        return None

    def kill(self):
        found = self.child()
        if not found:
            return
        _, peer, pidfd = found
        if not peer.startswith((f"{LIMITED_NET}.", f"{BALANCER_NET}.")):  # those count on each other; not named yet
            self.killed.add(peer)
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)

    def pause_child(self):
        found = self.child()
        if not found:
            return
        _, _, pidfd = found
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
            self.stop.wait(PAUSE)
            signal.pidfd_send_signal(pidfd, signal.SIGCONT)
        os.close(pidfd)

    def pause_daemon(self):
        os.kill(self.pid, signal.SIGSTOP)
        try:
            wait_for(lambda: state(self.pid) == "T", "the daemon to be stopped")
            self.stop.wait(PAUSE)
        finally:
            os.kill(self.pid, signal.SIGCONT)
