from __future__ import annotations

import contextlib
import os
import signal

import pytest

from echod.cli import lifecycle
from echod.cli.context import Paths
from echod.cli.daemon import Daemon
from echod.cli.pidfile import STARTING_BYTE, PidFile
from echod.common import scoreboard
from echod.common.errors import NOT_RUNNING, EchodError
from support.board import new_board
from support.processes import fork, reap
from support.wait import wait_for


class Running(Daemon):
    """A daemon as the commands see it: in one state, or in none that can be told."""

    def __init__(self, state=scoreboard.RUNNING, error=None):
        self.pid = 4711
        self.words = new_board().words
        self.words[scoreboard.STATE] = state
        self.error = error
        self.waited: list[float | None] = []

    def wait_started(self, timeout=0.0):  # noqa: ARG002
        if self.error:
            raise self.error
        return self.words[scoreboard.STATE]

    def board(self):
        return self

    def wait(self, timeout):
        self.waited.append(timeout)
        return True


@pytest.mark.parametrize(("milliseconds", "seconds"), [(10_000, 15.0), (0, 5.0), (scoreboard.NEVER, None)])
def test_a_stop_waits_as_long_as_the_drain_may_take_and_a_margin(milliseconds, seconds):
    daemon = Running()
    daemon.words[scoreboard.DRAIN_MS] = milliseconds
    assert lifecycle.limits(daemon) == (seconds, False)


def test_a_drain_is_not_asked_for_twice():
    assert lifecycle.limits(Running(scoreboard.DRAINING))[1] is True


def test_a_stop_goes_on_without_a_scoreboard():
    assert lifecycle.limits(Running(error=EchodError("no scoreboard"))) == (15.0, False)


def test_a_draining_daemon_is_waited_for(capsys):
    daemon = Running(scoreboard.DRAINING)
    assert not lifecycle.serves(daemon)
    assert daemon.waited == [None]
    assert "process 4711, which is draining" in capsys.readouterr().out


def test_who_serves_and_who_has_ended():
    assert lifecycle.serves(Running())
    assert lifecycle.serves(Running(error=EchodError("its scoreboard cannot be read")))
    assert not lifecycle.serves(Running(error=EchodError("it has just ended", NOT_RUNNING)))


def test_a_daemon_that_ends_while_a_start_finds_it_is_not_replaced_unlocked(tmp_path):
    path = str(tmp_path / "echod.pid")

    def hold():
        PidFile(path).acquire()
        signal.pause()

    daemon = fork(hold)
    wait_for(lambda: PidFile(path).holder() == daemon, "the lock")

    class Starts(PidFile):
        @contextlib.contextmanager
        def start(self):
            with super().start() as running:
                if self.holder():
                    os.kill(daemon, signal.SIGKILL)
                    reap(daemon)
                yield running

    def launch(_pid_file):
        assert reap(fork(lambda: PidFile(path).holder(STARTING_BYTE) != parent)) == 0, "nobody holds off another start"

    parent = os.getpid()
    assert lifecycle.claim(Paths(None, [f"pid_file={path}"]), Starts(path), launch) == 0
