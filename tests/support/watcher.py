"""A reader of the scoreboard that never pauses: whatever moment it meets, what it sees must be consistent."""

from __future__ import annotations

import threading

from echod.cli.daemon import Daemon
from echod.cli.pidfile import PidFile
from echod.cli.status.snapshot import snapshot

RISING = ("accepted", "closed", "peak_clients", "bytes_in", "bytes_out", "generation")


class Watcher:
    """Maps the scoreboard of a test's daemon, and compares each state with the one before in a thread of its own."""

    def __init__(self, echod, *, pause=0.0001):
        """Look again after `pause` seconds."""
        daemon = Daemon.find(PidFile(str(echod.pid_file)))
        assert daemon
        self.daemon = daemon
        self._board = daemon.board()
        self._pause = pause
        self._stop = threading.Event()
        self.faults: list[str] = []
        self.seen = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def state(self):
        """Return what `status --json` would print."""
        return snapshot(self._board.copy())

    def _watch(self):
        before = self.state()
        while not self._stop.wait(self._pause):
            now = self.state()
            self.seen += 1
            if found := [*inconsistent(now), *fallen(before, now)]:
                self.faults += found
                return
            before = now

    def check(self):
        """Fail when the thread has seen what may not be."""
        assert not self.faults, self.faults

    def close(self):
        self._stop.set()
        self._thread.join()
        self.daemon.__exit__(None, None, None)
        self.check()


def inconsistent(state):
    """Yield what does not agree within one state."""
    pids = [child["pid"] for child in state["children"]]
    if state["clients"] != len(pids):
        yield f"clients {state['clients']}, children {len(pids)}"
    if state["clients"] != state["accepted"] - state["closed"]:
        yield f"clients {state['clients']}, accepted {state['accepted']}, closed {state['closed']}"
    if state["closed"] != sum(state["ended"].values()) or min(state["ended"].values()) < 0:
        yield f"closed {state['closed']}, ended {state['ended']}"
    if len(set(pids)) < len(pids):
        yield f"a child twice: {pids}"
    if state["peak_clients"] < state["clients"]:
        yield f"peak {state['peak_clients']}, clients {state['clients']}"


def fallen(before, now):
    """Yield the counters that are less than before."""
    for name in RISING:
        if now[name] < before[name]:
            yield f"{name} fell from {before[name]} to {now[name]}"
    for kind in ("refused", "ended"):
        for name, count in now[kind].items():
            if count < before[kind][name]:
                yield f"{kind} {name} fell from {before[kind][name]} to {count}"
