from __future__ import annotations

import json
import os
import signal
import sys
import time

import pytest

from echod import __version__
from echod.common import scoreboard
from echod.common.config.settings import SETTINGS
from echod.common.errors import BAD_CONFIG, FAILED
from echod.common.items import encode, read_items, write_items
from echod.common.launch import Launch
from echod.common.signals_table import HANDLED
from echod.common.succession import Answer, Succession
from echod.server import upgrade as module
from echod.server.lean.slots import Child
from echod.server.upgrade import DEADLINE, IDLE, ON_TRIAL, READY, TRIAL, Upgrade, execute, fork_trial
from support.processes import fork, reap
from support.sockets import Front, settings
from support.wait import wait_for

IN_TRIAL = "the new version has failed in its trial"
SCRIPT = """
import json, os, sys
fds = [int(name) for name in os.listdir("/proc/self/fd")]
print(json.dumps([sys.argv[1:], sorted(fd for fd in fds if os.path.exists(f"/proc/self/fd/{fd}"))]), flush=True)
"""


class Stage:
    """An Upgrade whose trial is a function, and whose execve a list of what was handed on."""

    def __init__(self, monkeypatch):
        self.front = Front()
        self.answers, self.executed = [], []
        self.trial = self.fit
        self.error = None
        children = self.front.children
        monkeypatch.setattr(module, "fork_trial", self._fork)
        monkeypatch.setattr(module, "execute", self._execute)
        parts = self.front.board, self.front.signals, children, self.front.acceptor
        self.upgrade = Upgrade(Launch(), *parts, oom_fd=-1, answer=self._answer)
        self.upgrade.config = settings("umask=077")

    def _fork(self, _launch, _succession, files):
        return fork(lambda: self.trial(*files[1:]))

    def _execute(self, launch, succession, _state_fd):
        self.handed_on = launch, succession
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        assert {signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR2} <= blocked
        self.executed.append((list(succession.settings), succession.again))
        if self.error:
            raise self.error

    def _answer(self, _begun, code, upgrade):
        self.answers.append((code, upgrade))

    @staticmethod
    def fit(answer, stderr):
        os.write(stderr, b"a warning\n")
        write_items(answer, Answer(settings=("max_children=7", "log=/new\nline"), changes=("a: b\n -> c",)).to_items())

    def reap(self):
        """Reap the trial, and go on."""

        def gone():
            _, others = self.front.children.reap()
            self.upgrade.on_reaped(others)
            return others

        wait_for(gone, "the trial's end")
        self.upgrade.tick(time.monotonic())

    def begun(self):
        return self.front.board.words[scoreboard.UPGRADES_BEGUN]


@pytest.fixture
def stage(monkeypatch):
    handlers = {signum: signal.getsignal(signum) for signum in HANDLED}
    stage = Stage(monkeypatch)
    yield stage
    for signum, handler in handlers.items():  # a process that a later test forks is to be ended by SIGTERM
        signal.signal(signum, handler)
    stage.upgrade._close_files()
    vars(stage).clear()  # it is a cycle: close its descriptors now


def test_a_trial_that_is_fit_is_followed_by_execve(stage):
    stage.upgrade.begin()
    assert stage.upgrade.state == TRIAL
    stage.upgrade.tick(time.monotonic())
    assert (stage.upgrade.state, stage.executed) == (TRIAL, [])
    stage.reap()
    assert stage.executed == [(["max_children=7", "log=/new\nline"], 0)]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


@pytest.mark.parametrize(
    ("said", "stderr", "status", "answer"),
    [
        (encode(["code=6", "why=x.conf:3: is bad"]), b"", 6, (BAD_CONFIG, "x.conf:3: is bad")),
        (encode(["code=4", "why=cannot open\nthe log"]), b"xError", 4, (FAILED, "cannot open\nthe log")),
        (b"", b"", 3, (FAILED, f"{IN_TRIAL}; it ended with exit status 3")),
        (b"", b"xError: y\n", 1, (FAILED, f"{IN_TRIAL}; xError: y; it ended with exit status 1")),
        (b"0\0", b"fit", 1, (FAILED, f"{IN_TRIAL}; fit; it ended with exit status 1")),
        (encode(["code=6", "why=x.conf:3: is bad"])[:-1], b"", 6, (FAILED, f"{IN_TRIAL}; it ended with exit status 6")),
        (b"fit\n", b"", 0, (FAILED, f"{IN_TRIAL}; it ended with exit status 0")),
        (encode(["code=x"]), b"", 0, (FAILED, f"{IN_TRIAL}; it ended with exit status 0")),
    ],
)
def test_one_that_is_not_fit_is_refused_with_its_reason(stage, said, stderr, status, answer):
    def trial(answer_fd, stderr_fd):
        os.write(answer_fd, said)
        os.write(stderr_fd, stderr)
        return status

    stage.trial = trial
    before = os.listdir("/proc/self/fd")
    stage.upgrade.begin()
    stage.reap()
    assert (stage.answers, stage.upgrade.state, stage.executed) == ([answer], IDLE, [])
    assert os.listdir("/proc/self/fd") == before


def test_a_trial_that_takes_too_long_is_killed(stage):
    stage.trial = lambda *_: signal.pause()
    stage.upgrade.begin()
    assert stage.upgrade.due > time.monotonic()
    stage.upgrade.tick(time.monotonic() + DEADLINE + 1)
    stage.reap()
    assert stage.answers == [(FAILED, "the trial of the new version has taken more than 10 s")]


def test_a_stop_ends_it_and_there_is_none_after_it(stage):
    stage.trial = lambda *_: signal.pause()
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


@pytest.mark.parametrize("call", ["fork_trial", "write_state"])
def test_no_trial_can_be_started(stage, monkeypatch, call):
    def fail(*_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    if call == "fork_trial":
        monkeypatch.setattr(module, call, fail)
    else:
        monkeypatch.setattr(Succession, "write", fail)
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
    assert stage.executed == [(["max_children=7", "log=/new\nline"], 1)]


def test_and_after_one_that_fails(stage):
    def trial(answer, _stderr):
        write_items(answer, Answer(code=1, why="not yet").to_items())
        return 1

    stage.trial = trial
    stage.upgrade.begin()
    stage.upgrade.begin()
    stage.reap()
    assert (stage.upgrade.state, stage.begun()) == (TRIAL, 2)
    stage.reap()
    assert stage.answers == [(FAILED, "not yet")] * 2


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Have a script executed in place of the server."""
    (tmp_path / "boot.py").write_text(SCRIPT)
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-I", "-S", str(tmp_path / "boot.py"), "log=syslog"])
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "boot.py"), "log=syslog"])


@pytest.fixture
def launch():
    launch = Launch(board_fd=os.memfd_create("board"), overrides=("umask=077",))
    yield launch
    os.close(launch.board_fd)


@pytest.fixture
def files():
    """Return the three files that a trial has."""
    fds = [os.memfd_create(name) for name in ("state", "answer", "stderr")]
    yield fds
    for fd in fds:
        os.close(fd)


def said(fd):
    return json.loads(os.pread(fd, 1 << 16, 0))


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize("on_trial", [False, True])
def test_it_is_executed_with_the_same_words_and_what_it_needs_is_open(launch, files, on_trial):
    state, answer, _ = files
    other = os.memfd_create("other")
    succession = Succession(sockets=(os.memfd_create("socket"),), oom_fd=os.memfd_create("score"))

    def replaced():
        os.dup2(answer, 1)
        execute(launch, succession, state)

    pid = fork_trial(launch, succession, files) if on_trial else fork(replaced)
    assert reap(pid) == 0
    words, fds = said(answer)
    assert words == [*([ON_TRIAL] if on_trial else []), *launch.to_items(), f"state_fd={state}"]
    assert {0, 1, 2, state, launch.board_fd, *succession.sockets, succession.oom_fd} <= set(fds)
    assert not {other, *files[1:]} & set(fds)
    for fd in (other, *succession.sockets, succession.oom_fd):
        os.close(fd)


def test_a_trial_that_cannot_be_executed_says_so(launch, files, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert reap(fork_trial(launch, Succession(), files)) == 1
    answer = Answer.from_items(read_items(files[1]))
    assert (answer.code, answer.why) == (1, "cannot execute /nowhere/python: No such file or directory; use restart")


def test_a_trial_whose_daemon_has_ended_before_it_could_ask_for_a_signal_ends():
    def trial():
        module.end_with(os.getppid() + 1)  # as if that one had been the parent
        os._exit(0)

    assert reap(fork(trial)) == FAILED


@pytest.mark.parametrize("ctypes", [True, False])
def test_a_trial_ends_at_its_deadline_whatever_the_daemon_has_made_of_the_signal(monkeypatch, ctypes):
    if not ctypes:
        monkeypatch.setitem(sys.modules, "ctypes", None)
    monkeypatch.setattr(module, "DEADLINE", 0.0)

    def trial():
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        module.end_with(os.getppid())
        while True:
            signal.sigtimedwait([signal.SIGTERM], 60)

    assert reap(fork(trial)) == -signal.SIGALRM


def test_what_is_handed_on(stage):
    child = Child(640)
    child.address, child.named = ("127.0.0.1", 7), True
    stage.front.children.table[4711] = child
    stage.front.children.log.sink.lost = 3
    stage.upgrade.begin()
    stage.reap()
    launch, succession = stage.handed_on
    listeners = stage.front.acceptor.all()
    assert succession.sockets == tuple(listener.fd for listener in listeners)
    assert launch.addresses == tuple(listener.address for listener in listeners)
    assert (succession.version, succession.lost, launch.ready_fd) == (__version__, 3, -1)
    assert succession.changes == ("a: b\n -> c",)
    assert "umask=077" in succession.in_effect
    assert {text.partition("=")[0] for text in succession.in_effect} == set(SETTINGS)
    assert succession.slots == stage.front.board.top
    assert succession.children == ((4711, 640, 1, ("127.0.0.1", 7)),)
