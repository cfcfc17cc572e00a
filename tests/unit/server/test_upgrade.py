from __future__ import annotations

import os
import signal
import time

import pytest

from echod.common import scoreboard
from echod.common.errors import BAD_CONFIG, FAILED
from echod.common.handover import Handover
from echod.server import upgrade as module
from echod.server.upgrade import DEADLINE, IDLE, READY, TRIAL, Upgrade
from support.processes import fork
from support.sockets import Front
from support.wait import wait_for


class Stage:
    """An Upgrade whose trial is a function, and whose execve a list of what was handed on."""

    def __init__(self, monkeypatch):
        self.front = Front()
        self.handover, self.answers, self.executed = Handover(), [], []
        self.trial = self.fit
        self.error = None
        children = self.front.children
        monkeypatch.setattr(module, "fork_trial", self._fork)
        monkeypatch.setattr(module, "execute", self._execute)
        self.upgrade = Upgrade(
            self.handover, self.front.board.words, self.front.signals, children, self.front.acceptor, self._answer
        )

    def _fork(self, _handover, output):
        return fork(lambda: self.trial(output))

    def _execute(self, handover):
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        assert {signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR2} <= blocked
        self.executed.append((list(handover.settings), handover.again))
        if self.error:
            raise self.error

    def _answer(self, _begun, code, upgrade):
        self.answers.append((code, upgrade))

    @staticmethod
    def fit(output):
        os.write(output, b"a warning\nfit\nmax_children=7\n")

    def reap(self):
        """Reap the trial, and go on."""

        def gone():
            self.front.children.reap()
            return None not in self.front.children.others.values()

        wait_for(gone, "the trial's end")
        self.upgrade.tick(time.monotonic())

    def begun(self):
        return self.front.board.words[scoreboard.UPGRADES_BEGUN]


@pytest.fixture
def stage(monkeypatch):
    stage = Stage(monkeypatch)
    yield stage
    vars(stage).clear()  # it is a cycle: close its descriptors now


def test_a_trial_that_is_fit_is_followed_by_execve(stage):
    stage.upgrade.begin()
    assert stage.upgrade.state == TRIAL
    stage.upgrade.tick(time.monotonic())
    assert (stage.upgrade.state, stage.executed) == (TRIAL, [])
    stage.reap()
    assert stage.executed == [(["max_children=7"], 0)]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


@pytest.mark.parametrize(
    ("said", "status", "answer"),
    [
        (b"6 x.conf:3: is bad\n", 6, (BAD_CONFIG, "x.conf:3: is bad")),
        (b"4 cannot open the log\n", 4, (FAILED, "cannot open the log")),
        (b"", 3, (FAILED, "the new version has failed in its trial; it ended with exit status 3")),
        (
            b"xError: y\n",
            1,
            (FAILED, "the new version has failed in its trial; xError: y; it ended with exit status 1"),
        ),
        (b"fit\n", 1, (FAILED, "the new version has failed in its trial; fit; it ended with exit status 1")),
    ],
)
def test_one_that_is_not_fit_is_refused_with_its_reason(stage, said, status, answer):
    stage.trial = lambda output: (os.write(output, said) and status) or status
    stage.upgrade.begin()
    stage.reap()
    assert (stage.answers, stage.upgrade.state, stage.executed) == ([answer], IDLE, [])
    assert stage.handover.state_fd == -1


def test_a_trial_that_takes_too_long_is_killed(stage):
    stage.trial = lambda _: signal.pause()
    stage.upgrade.begin()
    assert stage.upgrade.due > time.monotonic()
    stage.upgrade.tick(time.monotonic() + DEADLINE + 1)
    stage.reap()
    assert stage.answers == [(FAILED, "the trial of the new version has taken more than 10 s")]


def test_a_stop_ends_it_and_there_is_none_after_it(stage):
    stage.trial = lambda _: signal.pause()
    stage.upgrade.begin()
    stage.upgrade.close("about to stop")
    stage.reap()
    stage.upgrade.begin()
    assert stage.answers == [(FAILED, "about to stop")] * 2
    assert stage.executed == []


def test_other_signals_come_first(stage):
    stage.upgrade.begin()
    stage.front.signals.pending.add(signal.SIGTERM)
    stage.reap()
    assert (stage.upgrade.state, stage.upgrade.due, stage.executed) == (READY, 0.0, [])
    stage.upgrade.close("about to stop")
    assert stage.answers == [(FAILED, "about to stop")]


def test_a_reload_meanwhile_means_another_trial(stage):
    stage.upgrade.begin()
    stage.front.board.words[scoreboard.RELOADS_BEGUN] += 1
    stage.reap()
    assert (stage.upgrade.state, stage.executed, stage.begun()) == (TRIAL, [], 1)
    stage.reap()
    assert len(stage.executed) == 1


def test_an_execve_that_fails_is_told_and_changes_nothing(stage):
    stage.error = PermissionError(13, "Permission denied")
    stage.upgrade.begin()
    stage.reap()
    ((code, why),) = stage.answers
    assert (code, stage.upgrade.state) == (FAILED, IDLE)
    assert why.startswith("cannot execute ")
    assert why.endswith(": Permission denied")
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_a_signal_mask_that_cannot_be_set_ends_the_upgrade_and_not_the_daemon(stage, monkeypatch):
    def fail(*_):
        raise OSError(22, "Invalid argument")

    stage.upgrade.begin()
    with monkeypatch.context() as patch:
        patch.setattr("echod.server.upgrade.signal.pthread_sigmask", fail)
        stage.reap()
    ((code, why),) = stage.answers
    assert (code, stage.upgrade.state, stage.executed) == (FAILED, IDLE, [])
    assert why.endswith(": Invalid argument")


@pytest.mark.parametrize("call", ["fork_trial", "collect"])
def test_no_trial_can_be_started(stage, monkeypatch, call):
    def fail(*_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(module, call, fail)
    before = os.listdir("/proc/self/fd")
    stage.upgrade.begin()
    assert stage.answers == [(FAILED, "cannot try the new version: Resource temporarily unavailable")]
    assert stage.upgrade.state == IDLE
    assert os.listdir("/proc/self/fd") == before


def test_another_one_asked_for_meanwhile_comes_after_it(stage):
    """Whoever asked has changed something since: a trial that has begun may not have seen it."""
    stage.upgrade.begin()
    stage.upgrade.begin()
    assert stage.begun() == 1
    stage.reap()
    assert stage.executed == [(["max_children=7"], 1)]


def test_and_after_one_that_fails(stage):
    stage.trial = lambda output: os.write(output, b"1 not yet\n") and 1
    stage.upgrade.begin()
    stage.upgrade.begin()
    stage.reap()
    assert (stage.upgrade.state, stage.begun(), stage.handover.again) == (TRIAL, 2, 0)
    stage.reap()
    assert stage.answers == [(FAILED, "not yet")] * 2
