"""Load of every kind for a long time, in rounds; after each, every byte must be accounted for and nothing have grown.

make soak MINUTES=10
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from soak import ledger
from soak.clients import BALANCER_NET, DENIED_NET, PER_SOURCE_LIMIT, Sources
from soak.disturb import FEW, Disturber
from soak.worker import worker
from support.daemon import Echod
from support.processes import anonymous, descriptors, many_descriptors, zombies
from support.sockets import port_of_its_own
from support.wait import need_root, wait_for
from support.watcher import Watcher

ROUND = 15.0  # seconds of load
WORKERS = 24
IDLE = "8s"  # shorter than a round, longer than a busy machine makes a client pause
GROWTH = 256  # KiB of anonymous memory that may come after the first round: the interpreter's arenas fill up
ROUND_TIMEOUT = 120.0  # seconds for the last clients of a round


class Soak:
    """A daemon under load; `home` is a directory of its user's."""

    def __init__(self, home, seed):
        # the second comes and goes: while it is gone nobody else may be given its port
        self.addresses = [(host, port_of_its_own()) for host in ("127.0.0.1", "127.0.0.2")]
        first, second = (f"{host}:{port}" for host, port in self.addresses)
        denied = f"{DENIED_NET}.0.0/16"
        self.base = {
            "listen": first,
            "max_children": "256",
            "deny": denied,
            "max_children_per_source": str(PER_SOURCE_LIMIT),
            "idle_timeout": IDLE,
        }
        self.choices = {
            "listen": [first, f"{first} {second}", f"{second} {first}"],
            "max_children": [FEW, "64", "256"],
            "deny": [denied, f"{denied} 192.0.2.0/24"],
            "idle_timeout": [IDLE, "9s"],
            "keepalive": ["60s", "30s", "never"],
            "backlog": ["256", "4096"],
            "log_level": ["info", "info", "debug"],
        }
        self.echod = Echod(home, **self.base)
        self.seed, self.sources = seed, Sources()
        self.totals: Counter[str] = Counter()
        self.samples: list[tuple[int, int]] = []

    def run(self, seconds):
        """Load, round after round. Raises AssertionError."""
        self.echod.start()
        watcher = Watcher(self.echod, pause=0.01)
        end = time.monotonic() + seconds
        while time.monotonic() < end or len(self.samples) < 2:
            self.round(watcher)
        self.flat()
        watcher.close()
        self.echod.run("stop", check=0)

    def round(self, watcher):
        """Load for a while, wait for the last client, and compare."""
        records: list[Any] = []
        before, stop = watcher.state(), threading.Event()
        self.seed += 1
        disturber = Disturber(self.echod, watcher, self.choices, stop, self.seed)
        threads = [
            threading.Thread(
                target=worker,
                args=(self.addresses, self.sources, stop, records, f"{self.seed}/{number}"),
                daemon=True,
            )
            for number in range(WORKERS)
        ]
        for thread in (disturber, *threads):
            thread.start()
        stop.wait(ROUND)
        stop.set()
        for thread in (disturber, *threads):
            thread.join(ROUND_TIMEOUT)
            assert not thread.is_alive(), "a client does not come to its end"
        errors = disturber.errors + [one for one in records if isinstance(one, BaseException)]
        if errors:
            raise errors[0]
        self.compare(watcher, before, records, disturber)

    def compare(self, watcher, before, records, disturber):
        """All clients are gone: the log and the counters must say what they have counted."""
        self.sources.balanced = not self.sources.balanced  # in every other round
        self.echod.write(**self.base, proxy_from=f"{BALANCER_NET}.0.0/16" if self.sources.balanced else None)
        self.echod.run("reload", check=0)
        wait_for(lambda: not watcher.state()["clients"], "the last clients to be gone")
        disturber.rotate()
        now, lines = watcher.state(), ledger.close_lines(self.echod)
        faults = [*ledger.compare(records, lines, disturber.killed), *ledger.balance(records, lines, before, now)]
        assert not faults, "\n".join([f"{len(faults)} faults, the first:", *faults[:10]])
        ledger.forget(self.echod)
        watcher.check()
        assert not zombies(disturber.pid)
        assert not self.echod.children()
        self.samples.append((anonymous(disturber.pid), len(descriptors(disturber.pid))))
        self.totals.update(one.verdict for one in records)
        self.totals.update(disturber.done)
        self.totals.update(connections=len(records), bytes=sum(one.received for one in records))

    def flat(self):
        """Memory and descriptors after the last round are those after the first."""
        (memory, fds), (memory_now, fds_now) = self.samples[0], self.samples[-1]
        assert fds_now == fds, f"descriptors: {fds}, now {fds_now}"
        assert memory_now <= memory + GROWTH, f"anonymous memory: {memory} KiB, now {memory_now} KiB"

    def summary(self, seconds):
        """Return what has happened, in a few lines."""
        (memory, fds), (memory_now, fds_now) = self.samples[0], self.samples[-1]
        rows = {"duration": f"{seconds / 60:.1f} min, {len(self.samples)} rounds", **self.totals}
        rows |= {"anonymous memory": f"{memory} KiB, at the end {memory_now} KiB", "descriptors": f"{fds}, {fds_now}"}
        return "\n".join(f"| {name} | {value} |" for name, value in rows.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=862)
    words = parser.parse_args()
    need_root()
    many_descriptors()
    home = Path(tempfile.mkdtemp(prefix="echod-soak-"))
    home.chmod(0o755)
    shutil.chown(home, "nobody")
    soak, begun = Soak(home, words.seed), time.monotonic()
    try:
        soak.run(words.minutes * 60)
        print(soak.summary(time.monotonic() - begun))
    finally:
        soak.echod.cleanup()
    shutil.rmtree(home)


if __name__ == "__main__":
    sys.exit(main())
