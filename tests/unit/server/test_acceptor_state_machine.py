"""Children, acceptor and scoreboard under any order of events: hypothesis looks for one that breaks an invariant.

Clients are real, children are forked: it runs in a process of its own, whose children are the table's and no others.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase
from hypothesis import settings as tuned
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from echod.common.config.rules import pack_peer
from echod.common.scoreboard import (
    ACCEPTED,
    BYTES_IN,
    BYTES_OUT,
    CLOSED,
    PEAK,
    REFUSALS,
    SLOT,
    SLOTS_AT,
    TOP,
    WORD_SIZE,
)
from echod.server.acceptor import CLOSED as FOR_GOOD
from echod.server.acceptor import FOREVER, FULL, OPEN, PAUSED
from echod.server.admission import source
from echod.server.children import BATCH_CLIENTS
from echod.server.lean.slots import RECORDED, SPAWNED
from support.processes import fork, state
from support.sockets import Front
from support.wait import wait_for

INDEX = st.integers(0, 50)
MOST_CLIENTS = 12


class Machine(RuleBasedStateMachine):
    """Clients that come and go, reloads, pauses and a stop; the model is `spawned`, `rejected`, `most` and `bytes`."""

    def __init__(self):
        super().__init__()
        self.front = Front("max_children=4", listeners=2)
        self.cap, self.limit = 4, 0
        self.most = 0
        self.rejected = 0
        self.closed = 0
        self.bytes = (0, 0)

    # what happens

    @precondition(lambda self: self.open and len(self.front.clients) < MOST_CLIENTS)
    @rule(listener=st.integers(0, 1))
    def connect(self, listener):
        self.front.connect(listener)

    @rule()
    def accept(self):
        before, rejected = len(self.front.children.table), self.refused()
        accepted = self.front.accept()
        self.count(before, accepted - (self.refused() - rejected))

    @rule(index=INDEX, data=st.binary(min_size=1, max_size=100))
    def echo(self, index, data):
        for client in self.some(index, served=True):
            client.sendall(data)
            got = b""
            while len(got) < len(data):
                part = client.recv(len(data))
                assert part, "a client that has a child was closed"
                got += part
            assert got == data

    @rule(index=INDEX, killed=st.booleans())
    def exit(self, index, killed):
        for client in self.some(index, served=True):
            pid = self.pid_of(client)
            if killed:
                os.kill(pid, signal.SIGKILL)
            self.front.clients.remove(client)
            client.close()
            wait_for(lambda pid=pid: state(pid) == "Z", "the child to exit")

    @rule(index=INDEX)
    def leave_before_being_served(self, index):
        for client in self.some(index, served=False):
            self.front.clients.remove(client)
            client.close()

    @rule()
    def reap(self):
        before = len(self.front.children.table)
        reaped = self.front.reap()
        self.closed += reaped
        assert len(self.front.children.table) == before - reaped
        assert all(child.state == RECORDED for child in self.front.children.table.values())

    @precondition(lambda self: self.open)
    @rule(cap=st.integers(1, 8), limit=st.sampled_from([0, 0, 1, 3]), over=st.sampled_from(["queue", "refuse"]))
    def reload(self, cap, limit, over):
        self.cap, self.limit = cap, limit
        self.front.configure(f"max_children={cap}", f"max_children_per_source={limit}", f"over_limit={over}")

    @precondition(lambda self: self.open)
    @rule(index=st.integers(0, 1))
    def reload_with_another_listener(self, index):
        before = len(self.front.children.table)
        self.front.listeners[index] = self.front.listen()
        self.front.configure(f"max_children={self.cap}", f"max_children_per_source={self.limit}")
        self.count(before, None)

    @precondition(lambda self: self.open)
    @rule()
    def pause(self):
        self.front.acceptor._pause("error call=accept4 why='a test'")
        assert self.front.acceptor.state == PAUSED

    @precondition(lambda self: self.open)
    @rule(over=st.booleans())
    def resume(self, over):
        due = min(self.front.acceptor.resume_at, 1e12)  # a moment is finite
        self.front.acceptor.resume(due if over else due - 0.001)
        if over:
            assert self.front.acceptor.state != PAUSED

    @precondition(lambda self: self.open and self.front.clients)
    @rule()
    def close(self):
        before = len(self.front.children.table)
        self.front.acceptor.close()
        self.count(before, None)
        assert self.front.acceptor.state == FOR_GOOD

    # what the rules ask

    @property
    def open(self):
        return self.front.acceptor.state != FOR_GOOD

    def pid_of(self, client):
        name = client.getsockname()
        return next((pid for pid, child in self.front.children.table.items() if child.address == name), 0)

    def some(self, index, *, served):
        """Return one of the clients that have a child, or have none; no client where there is none of the kind."""
        clients = [c for c in self.front.clients if (state_of(self.pid_of(c)) in "RS") == served]
        return [clients[index % len(clients)]] if clients else []

    def refused(self):
        return sum(self.front.count(*REFUSALS.values()))

    def count(self, before, spawned):
        """Compare how many children there are now with how many there should be; None: some."""
        now = len(self.front.children.table)
        assert spawned is None or now == before + spawned
        assert now == before or now <= self.cap
        self.most = max(self.most, now)

    # what holds at any time

    @invariant()
    def the_table_is_the_children_of_this_process(self):
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        assert sorted(map(int, children)) == sorted(self.front.children.table)

    @invariant()
    def slots_are_unique_and_none_is_lost(self):
        taken = [child.slot for child in self.front.children.table.values()]
        free = [child.slot for child in self.front.children._free]
        every = [(SLOTS_AT + number * SLOT) // WORD_SIZE for number in range(self.front.board.words[TOP])]
        assert sorted(taken + free) == every

    @invariant()
    def those_not_yet_recorded_are_the_newest(self):
        states = [child.state for child in self.front.children.table.values()]
        assert states == sorted(states, reverse=True)
        assert set(states) <= {SPAWNED, RECORDED}

    @invariant()
    def a_reader_sees_the_recorded_and_their_counts(self):
        copy = self.front.reader.copy()
        clients = copy.clients()
        recorded = {
            pid: (child.peer, child.address)
            for pid, child in self.front.children.table.items()
            if child.state == RECORDED
        }
        assert {pid: peer for pid, peer, *_ in clients} == {pid: peer for pid, (peer, _) in recorded.items()}
        assert all(peer == "{}:{}".format(*address) for peer, address in recorded.values())
        assert len(clients) == copy.words[ACCEPTED] - copy.words[CLOSED]
        assert copy.words[CLOSED] == self.closed
        assert len(clients) <= copy.words[PEAK] <= self.most
        total = (
            copy.words[BYTES_IN] + sum(client[4] for client in clients),
            copy.words[BYTES_OUT] + sum(client[5] for client in clients),
        )
        assert total >= self.bytes
        assert total[0] >= total[1]
        self.bytes = total

    @invariant()
    def the_state_of_the_acceptor_fits_its_clients_and_what_is_polled(self):
        acceptor, clients = self.front.acceptor, len(self.front.children.table)
        if acceptor.state == OPEN:
            assert clients < self.cap
        elif acceptor.state == FULL:
            assert clients >= self.cap
        assert (acceptor.resume_at < FOREVER) == (acceptor.state == PAUSED) or not self.open
        polled = acceptor.state == OPEN or (acceptor.state == FULL and acceptor._refuses_when_full)
        assert self.front.poller.registered == (set(acceptor.listeners) if polled else set())
        assert acceptor.reap_after == (BATCH_CLIENTS if acceptor.state == OPEN and not self.limit else 0)

    @invariant()
    def sources_are_counted_as_often_as_they_have_children(self):
        admission = self.front.acceptor._admission
        addresses = [child.address for child in self.front.children.table.values()]
        wanted = Counter(source(pack_peer(address)) for address in addresses) if self.limit else {}
        assert admission.counts == wanted

    def teardown(self):
        self.front.acceptor.close()
        self.most = max(self.most, len(self.front.children.table))
        self.front.children.send(signal.SIGKILL)
        while self.front.children.table:
            self.closed += self.front.reap()
        self.a_reader_sees_the_recorded_and_their_counts()
        assert self.front.reader.copy().clients() == []
        for client in self.front.clients:
            client.close()
        os.close(self.front.board.fd)


def state_of(pid):
    """Return a process's state letter, "-" where there is none."""
    return state(pid) if pid else "-"


def run():
    run_state_machine_as_test(
        Machine,
        settings=tuned(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # to shrink a run takes minutes; its steps are printed
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_nothing_that_happens_in_any_order_breaks_an_invariant():
    pid = fork(run)
    assert os.waitpid(pid, 0)[1] == 0
