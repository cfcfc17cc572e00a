"""Delay the calls that races are made of, under load: nothing is lost, and the counters are right.

`delays.py --seed S --rounds N`: each round delays other calls for other times, and has the daemon under signals, moving
between addresses, and draining.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from campaign.client import SERVED, Client, WrongError
from campaign.commands import reload
from campaign.inject import adopt
from campaign.ptrace import Strace
from campaign.scene import Scene
from campaign.target import PORT, DeathError, Target

CALLS = ("clone", "accept4", "close", "poll", "wait4", "kill", "unlink")
SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)
CLIENTS, THREADS = 24, 6


def slow(chance):
    """Return strace's words that delay some of the calls by 1 to 50 ms, before or after they are made."""
    delayed = {call: chance.randint(1000, 50_000) for call in chance.sample(CALLS, 4)}
    words = ["-f", "-e", f"trace={','.join(delayed)}"]
    for call, micro in delayed.items():
        words += ["-e", f"inject={call}:delay_{chance.choice(['enter', 'exit'])}={micro}"]
    return words


class Load:
    """Clients in threads of their own, one after the other; `made` are all that could connect."""

    def __init__(self, target, chance, count=CLIENTS):
        self.target = target
        self.made: list[Client] = []
        self.faults: list[str] = []
        self.left = [(chance.choice([1, 100, 20_000, 70_000]), chance.random() < 0.3) for _ in range(count)]
        self.hosts = [1]
        self.threads = [threading.Thread(target=self.work) for _ in range(THREADS)]

    def work(self):
        while self.left and not self.faults:
            size, moving = self.left.pop()
            try:
                client = Client((self.target.host(self.hosts[-1] if moving else 1), PORT), timeout=30)
            except ConnectionRefusedError:
                continue  # it has moved away meanwhile
            self.made.append(client)
            try:
                client.echo(size).finish()
                if client.outcome != SERVED:
                    self.faults.append(f"client {client.name} of {size} bytes: {client.outcome} after {client.back}")
            except WrongError as error:
                self.faults.append(str(error))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for thread in self.threads:
            thread.join()

    def busy(self):
        return any(thread.is_alive() for thread in self.threads)

    def check(self, before, after):
        """Compare what the clients saw with what the daemon counted."""
        accepted, sent = after["accepted"] - before["accepted"], sum(len(client.sent) for client in self.made)
        counted = after["bytes_in"] - before["bytes_in"], after["bytes_out"] - before["bytes_out"]
        if self.faults:
            raise WrongError("; ".join(self.faults))
        if accepted != len(self.made) or counted != (sent, sent) or after["refused"] != before["refused"]:
            raise WrongError(f"{len(self.made)} clients sent {sent} bytes; counted: {accepted}, {counted}")


def signals(target, chance):
    """Send the daemon bursts of signals; between them it gets to its clients: a stop must not be starved by those."""
    before = target.await_clients(1)
    rest = threading.Event()
    with Strace(target.pid, target.home / "trace", *slow(chance)), Load(target, chance) as load:
        while load.busy() and not rest.wait(0.4):
            for _ in range(10):
                os.kill(target.pid, chance.choice(SIGNALS))
                rest.wait(0.002)
    load.check(before, target.await_clients(1))


def moves(target, chance):
    """Have it move between addresses while clients come to those that go."""
    before = target.await_clients(1)
    rest = threading.Event()
    with Strace(target.pid, target.home / "trace", *slow(chance)), Load(target, chance) as load:
        while load.busy():
            host = 5 - load.hosts[-1] if len(load.hosts) > 1 else 2
            target.echod.write(listen=f"{target.host(1)}:{PORT} {target.host(host)}:{PORT}")
            reload(target)
            load.hosts.append(host)
            rest.wait(0.05)
    load.check(before, target.await_clients(1))
    target.echod.write(listen=f"{target.host(1)}:{PORT}")
    reload(target)


def drains(target, chance):
    """Have it drain while clients wait for their echoes."""
    clients = [Client((target.host(1), PORT), timeout=30).echo(10) for _ in range(6)]
    with Strace(target.pid, target.home / "trace", *slow(chance)):
        for client in clients:
            client.send(chance.choice([1, 100, 50_000]))
        os.kill(target.pid, signal.SIGTERM)
        if chance.random() < 0.5:
            os.kill(target.pid, signal.SIGHUP)
        for client in [*clients, target.bystander]:
            client.receive().finish(half_close=False)
            if client.outcome != SERVED:
                raise WrongError(f"drain: a client is {client.outcome} after {client.back} of {len(client.sent)} bytes")
        if (outcome := target.ended(30)) != "exit code 0":
            raise WrongError(f"drain: {outcome}; {target.crash()}")
    if target.echod.pid_file.exists() and target.echod.pid_file.read_text():
        raise WrongError("drain: the pid file is left")


def run(seed):
    """Play one round. Raises DeathError or WrongError."""
    chance = random.Random(seed)
    target = Target()
    target.renew(drain_timeout="20s")
    try:
        target.start(Scene(target))
        for scene in (signals, moves, drains):
            scene(target, chance)
            if target.crash():
                raise WrongError(f"{scene.__name__}: {target.crash()}")
    finally:
        target.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", default="0")
    parser.add_argument("--rounds", type=int, default=1)
    words = parser.parse_args()
    adopt()
    bad = 0
    for number in range(words.rounds):
        seed = f"{words.seed}-{number}" if words.rounds > 1 else words.seed
        try:
            run(seed)
        except (DeathError, WrongError, AssertionError, OSError) as error:
            bad += 1
            print(f"delays --seed {seed}: {type(error).__name__}: {error}", flush=True)
    print(f"{words.rounds} rounds with delays, {bad} bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
