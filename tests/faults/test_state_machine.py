"""Clients that come, end, reset and are killed, reloads and pauses of the daemon, in any order, against a model."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from echod.cli.daemon import RELOAD, REOPEN, UPGRADE
from support.daemon import Echod
from support.processes import state, zombies
from support.stream import reset
from support.wait import DEADLINE, wait_for
from support.watcher import Watcher

WAITING, SERVED, REFUSED = "waiting", "served", "refused"
SOURCES = st.sampled_from(["127.0.0.1", "127.0.0.2"])
ENDINGS = st.sampled_from(["close", "reset", "kill"])
INDEX = st.integers(0, 1000)
SETTINGS = st.fixed_dictionaries(
    {
        "max_children": st.integers(1, 4),
        "over_limit": st.sampled_from(["queue", "refuse"]),
        "max_children_per_source": st.integers(0, 2),
        "log_level": st.sampled_from(["info", "debug"]),
    }
)
EVENTS = st.lists(st.one_of(SOURCES, st.tuples(ENDINGS, INDEX), SETTINGS), min_size=1, max_size=6)


class Client:
    """One connection that has sent a byte; the echo tells that it is served, the end that it was refused."""

    def __init__(self, address, source):
        self.source = source
        self.conn = socket.create_connection(address, DEADLINE, source_address=(source, 0))
        self.peer = "{}:{}".format(*self.conn.getsockname())
        self.conn.sendall(b"x")
        self.conn.setblocking(False)
        self.state = WAITING

    def look(self):
        """Find out what has become of it."""
        if self.state == WAITING:
            with contextlib.suppress(BlockingIOError):
                try:
                    self.state = SERVED if self.conn.recv(1) else REFUSED
                except ConnectionResetError:
                    self.state = REFUSED
        return self.state


class Machine(RuleBasedStateMachine):
    """The model: `clients` that are served or wait, in their order, and how many there have been of each kind."""

    def __init__(self):
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="echod-test-"))
        self.home.chmod(0o755)
        if os.geteuid() == 0:
            shutil.chown(self.home, "nobody")
        self.settings: dict[str, Any] = {"max_children": 3, "over_limit": "queue", "max_children_per_source": 0}
        self.echod = Echod(self.home, **self.settings).start()
        self.watcher = Watcher(self.echod)
        self.pid, self.address = self.echod.pid, self.echod.address
        self.clients: list[Client] = []
        self.accepted = self.most = 0
        self.refused = dict.fromkeys(self.watcher.state()["refused"], 0)

    def of(self, kind):
        return [client for client in self.clients if client.state == kind]

    # what may happen

    @rule(source=SOURCES)
    def connect(self, source):
        self.begin(source)
        self.compare()

    @precondition(lambda self: self.of(SERVED))
    @rule(ending=ENDINGS, index=INDEX)
    def end(self, ending, index):
        self.finish(ending, index)
        self.compare()

    @rule(changed=SETTINGS)
    def reload(self, changed):
        self.settings |= changed
        self.echod.write(**changed)
        assert self.watcher.daemon.ask(*RELOAD)[0] == 0
        self.compare()

    @rule()
    def reopen(self):
        assert self.watcher.daemon.ask(*REOPEN)[0] == 0

    @rule()
    def upgrade(self):
        assert self.watcher.daemon.ask(*UPGRADE)[0] == 0

    @rule(events=EVENTS)
    def while_the_daemon_is_stopped(self, events):
        """In what order it takes them is its own affair; the counts are not."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            wait_for(lambda: state(self.pid) == "T", "the daemon to be stopped")
            self.most = max(self.most, len(self.clients) + sum(isinstance(event, str) for event in events))
            for event in events:
                self.happen(event)
        finally:
            os.kill(self.pid, signal.SIGCONT)
        self.compare(predicted=False)

    def happen(self, event):
        if isinstance(event, str):
            self.begin(event)
        elif isinstance(event, tuple):
            self.finish(*event)
        else:
            self.settings |= event
            self.echod.write(**event)
            os.kill(self.pid, signal.SIGHUP)

    def begin(self, source):
        self.clients.append(Client(self.address, source))

    def finish(self, ending, index):
        served = self.of(SERVED)
        if not served:
            return
        client = served[index % len(served)]
        if ending == "kill":
            os.kill(
                next(c["pid"] for c in self.watcher.state()["children"] if c["peer"] == client.peer), signal.SIGKILL
            )
            client.conn.close()
        elif ending == "reset":
            reset(client.conn)
        else:
            client.conn.close()
        self.clients.remove(client)

    # what must be

    def predict(self):
        """Give the clients that wait what the settings say, in their order."""
        most, limit = self.settings["max_children"], self.settings["max_children_per_source"]
        expected = dict(self.refused)
        served = [client.source for client in self.of(SERVED)]
        for client in self.of(WAITING):
            full = len(served) >= most
            if full and self.settings["over_limit"] == "queue":
                break
            if limit and served.count(client.source) >= limit:
                expected["per_source"] += 1
            elif full:
                expected["over_limit"] += 1
            else:
                served.append(client.source)
        return len(served), expected

    def compare(self, *, predicted=True):
        """Wait until the daemon has done all there is to do; then it and the model agree."""
        known = len(self.of(SERVED))
        served, refused = self.predict()
        self.most = max(self.most, served)

        def done():
            for client in self.clients:
                client.look()
            now = self.watcher.state()
            full = now["clients"] >= self.settings["max_children"] and self.settings["over_limit"] == "queue"
            return now["clients"] == len(self.of(SERVED)) and (full or not self.of(WAITING)) and now

        now = wait_for(done, "the daemon to have done all there is to do")
        self.watcher.check()
        if predicted:
            assert (len(self.of(SERVED)), now["refused"]) == (served, refused)
        before, self.refused = sum(self.refused.values()), now["refused"]
        assert sum(self.refused.values()) - before == len(self.of(REFUSED))
        self.accepted += len(self.of(SERVED)) - known
        for client in self.of(REFUSED):
            client.conn.close()
        self.clients = [client for client in self.clients if client.state != REFUSED]
        assert (now["accepted"], now["closed"]) == (self.accepted, self.accepted - now["clients"])
        assert now["clients"] <= now["peak_clients"] <= self.most
        assert sorted(child["peer"] for child in now["children"]) == sorted(client.peer for client in self.of(SERVED))
        assert not zombies(self.pid)

    def teardown(self):
        """Drain: who waits may be served yet; all are counted at the end."""
        try:
            for client in self.clients:
                with contextlib.suppress(OSError):  # it is refused just now
                    client.conn.shutdown(socket.SHUT_WR)
            self.echod.run("stop", check=0)
            last = self.watcher.state()
            self.watcher.close()
            assert last["accepted"] == last["closed"] >= self.accepted
        finally:
            for client in self.clients:
                client.conn.close()
            self.echod.cleanup()
            shutil.rmtree(self.home)


TestTheDaemon = Machine.TestCase
TestTheDaemon.settings = settings(
    max_examples=6,
    stateful_step_count=25,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],  # to shrink an example, with a daemon for each try, would take minutes
    suppress_health_check=list(HealthCheck),
)
