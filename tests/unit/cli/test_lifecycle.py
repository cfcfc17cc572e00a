from __future__ import annotations

import contextlib
import os
import signal
from argparse import Namespace

import pytest

from echod.cli import lifecycle
from echod.cli.context import Paths
from echod.cli.daemon import Daemon
from echod.cli.pidfile import STARTING_BYTE, PidFile
from echod.common import scoreboard
from echod.common.errors import NOT_RUNNING, USAGE, EchodError
from support.board import new_board
from support.processes import fork, reap
from support.wait import wait_for


class Running(Daemon):
    """A daemon as the commands see it: in one state, or in none that can be told."""

    def __init__(self, state=scoreboard.RUNNING, error=None, options=()):
        self.pid = 4711
        self.options = list(options)
        self.words = new_board().words
        self.words[scoreboard.STATE] = state
        self.error = error
        self.waited: list[float | None] = []
        self.sent: list[int] = []
        self.ends, self.accepts, self.killed = True, False, False

    def wait_started(self, timeout=0.0):  # noqa: ARG002
        if self.error:
            raise self.error
        return self.words[scoreboard.STATE]

    def board(self):
        return self

    def wait(self, timeout):
        self.waited.append(timeout)
        return self.ends or timeout is None

    def send(self, signum):
        self.sent.append(signum)

    def overrides(self):
        return self.options

    def listens(self):
        return self.accepts

    def kill(self):
        self.killed = True


def told(**words):
    return Namespace(**({"timeout": None, "force": False} | words))


@pytest.mark.parametrize(("setting", "seconds"), [("10s", 15.0), ("0s", 5.0), ("never", None), ("nonsense", 15.0)])
def test_a_command_waits_as_long_as_its_own_config_says_and_a_margin(tmp_path, setting, seconds):
    options = [f"pid_file={tmp_path}/pid", f"drain_timeout={setting}"]
    assert lifecycle.drain_limit(Paths("/dev/null", options)) == seconds


@pytest.mark.parametrize(
    ("words", "limit", "waited"),
    [
        ({}, 15.0, [15.0]),
        ({"timeout": 3.0}, 15.0, [3.0]),
        ({}, None, [5.0, None]),
        ({"force": True}, None, [15.0]),
        ({"force": True, "timeout": 2.0}, None, [2.0]),
    ],
)
def test_a_stop_waits_for_no_time_that_the_scoreboard_names(words, limit, waited):
    daemon = Running()
    daemon.words[scoreboard.DRAIN_MS] = scoreboard.NEVER
    daemon.ends = limit is not None or bool(words)
    lifecycle.end(daemon, told(**words), limit)
    assert daemon.waited == waited
    assert daemon.sent == [signal.SIGTERM]


def test_a_stop_that_waits_without_a_limit_says_for_what(capsys):
    daemon = Running()
    daemon.ends = False
    lifecycle.end(daemon, told(), None)
    assert "waiting for the clients of process 4711" in capsys.readouterr().out


def test_a_drain_is_not_asked_for_twice():
    daemon = Running(scoreboard.DRAINING)
    lifecycle.end(daemon, told(), 1.0)
    assert daemon.sent == []


def test_a_stop_goes_on_without_a_scoreboard():
    daemon = Running(error=EchodError("no scoreboard"))
    lifecycle.end(daemon, told(), 1.0)
    assert daemon.sent == [signal.SIGTERM]


@pytest.mark.parametrize("state", [scoreboard.RUNNING, scoreboard.DRAINING])
def test_a_daemon_that_does_not_end_is_an_error_or_is_killed(state):
    daemon = Running(state)
    daemon.ends = False
    with pytest.raises(EchodError, match="process 4711 is still there after 1 s"):
        lifecycle.end(daemon, told(), 1.0)
    lifecycle.end(daemon, told(force=True), 1.0)
    assert daemon.killed


def test_a_draining_daemon_is_waited_for_as_long_as_the_config_says(capsys):
    daemon = Running(scoreboard.DRAINING)
    assert not lifecycle.serves(daemon, 15.0)
    assert daemon.waited == [15.0]
    assert "process 4711, which is draining" in capsys.readouterr().out
    daemon.ends = False
    with pytest.raises(EchodError, match="process 4711 is still there after 15 s"):
        lifecycle.serves(daemon, 15.0)


def test_who_serves_and_who_has_ended():
    assert lifecycle.serves(Running(), 1.0)
    assert not lifecycle.serves(Running(error=EchodError("it has just ended", NOT_RUNNING)), 1.0)


def test_without_a_scoreboard_the_kernel_says_who_accepts():
    daemon = Running(error=EchodError("its scoreboard cannot be read"))
    daemon.accepts = True
    assert lifecycle.serves(daemon, 1.0)
    daemon.accepts = False
    assert not lifecycle.serves(daemon, 1.0)
    assert daemon.waited == [1.0]


STARTED_WITH = ["log_level=debug", "allow=10.0.0.0/8\t10.1.0.0/16", "pid_file=/x"]


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ([*STARTED_WITH, "umask=077"], ""),
        (["allow = 10.0.0.0/8\t10.1.0.0/16", " log_level = debug"], ""),
        ([], "echod -c F restart -o log_level=debug -o 'allow=10.0.0.0/8\t10.1.0.0/16'"),
        (["umask=077", STARTED_WITH[1]], f"-o log_level=debug -o umask=077 -o '{STARTED_WITH[1]}'"),
        ([STARTED_WITH[1], "log_level=info"], f"-o log_level=debug -o '{STARTED_WITH[1]}'"),
    ],
)
def test_a_restart_repeats_the_options_of_the_start(given, command):
    daemon = Running(options=STARTED_WITH)
    args = Namespace(config="F", options=given)
    if not command:
        lifecycle.check_repeated(daemon, args)
        return
    with pytest.raises(EchodError) as caught:
        lifecycle.check_repeated(daemon, args)
    assert caught.value.code == USAGE
    assert command in str(caught.value)


@pytest.mark.parametrize("forged", [["nonsense"], ["=", ""], ["a\n=b"]])
def test_options_that_nobody_can_have_given_keep_no_operator_from_a_restart(forged):
    daemon = Running(options=forged)
    with contextlib.suppress(EchodError):
        lifecycle.check_repeated(daemon, Namespace(config="F", options=[]))


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
