from __future__ import annotations

import os
import select
import signal

import pytest

from echod.common.reasons import signal_name
from echod.server.session import Limits, Session
from echod.server.signals import HANDLED
from support.processes import isolated, reap, state
from support.sockets import signal_pipe
from support.wait import wait_for


def drain(pipe):
    """Return the signals that were noted, as the server's loop takes them."""
    if ready(pipe):
        os.read(pipe.fd, 1 << 16)
    noted = pipe.noted | ({signal.SIGCHLD} if pipe.dead else set())
    pipe.noted, pipe.dead, pipe.came = set(), False, False
    return noted


def ready(pipe, seconds=5.0):
    return bool(select.select([pipe.fd], [], [], seconds)[0])


def test_a_signal_makes_the_pipe_readable_and_drain_tells_which():
    def check():
        pipe = signal_pipe()
        assert not ready(pipe, 0)
        for signum in HANDLED:
            os.kill(os.getpid(), signum)
        assert ready(pipe)
        assert drain(pipe) == set(HANDLED)
        assert not ready(pipe, 0)
        os.kill(os.getpid(), signal.SIGHUP)
        assert drain(pipe) == {signal.SIGHUP}

    isolated(check)


def test_more_signals_than_the_pipe_holds_do_no_harm():
    def check():
        pipe = signal_pipe()
        for _ in range(70_000):
            os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        assert drain(pipe) == {signal.SIGHUP, signal.SIGTERM}

    isolated(check)


def test_the_pipe_neither_blocks_nor_survives_an_exec():
    def check():
        pipe = signal_pipe()
        for fd in (pipe.fd, signal.set_wakeup_fd(-1)):
            assert not os.get_blocking(fd)
            assert not os.get_inheritable(fd)

    isolated(check)


def test_signals_that_waited_for_the_pipe_are_not_lost():
    def check():
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        os.kill(os.getpid(), signal.SIGTERM)
        pipe = signal_pipe()
        assert ready(pipe)
        assert drain(pipe) == {signal.SIGTERM}
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()

    isolated(check)


def test_a_signal_that_comes_while_the_pipe_is_given_up_is_noted():
    def check():
        pipe = signal_pipe()
        signal.set_wakeup_fd(-1)
        os.kill(os.getpid(), signal.SIGCHLD)
        assert not ready(pipe, 0)
        assert pipe.came
        assert drain(pipe) == {signal.SIGCHLD}

    isolated(check)


def test_sigpipe_is_ignored():
    def check():
        signal_pipe()
        assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN

    isolated(check)


@pytest.mark.lean
def test_a_signal_to_a_fresh_child_never_arrives_in_the_parents_pipe():
    def check():
        pipe = signal_pipe()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for _ in range(200):
            signal.set_wakeup_fd(-1)
            pid = os.fork()
            if pid == 0:
                try:
                    while not pipe.came:
                        select.select([], [], [], 0.001)
                finally:
                    os._exit(0)
            os.kill(pid, signal.SIGTERM)
            signal.set_wakeup_fd(pipe.write_end)
            while not os.waitpid(pid, os.WNOHANG)[0]:  # the interpreter forgets what comes before it knows of the fork
                os.kill(pid, signal.SIGTERM)
                select.select([], [], [], 0.001)
            assert not ready(pipe, 0)
            assert not pipe.came

    isolated(check)


@pytest.mark.parametrize(
    ("signum", "outcome"),
    [
        (signal.SIGTERM, 7),
        (signal.SIGQUIT, 7),
        (signal.SIGINT, -signal.SIGINT),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_in_a_child_signals_are_the_sessions(signum, outcome):
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            pipe = signal_pipe()
            client = pipe.session = Session(Limits(None, None))
            os.write(theirs, b"ready")
            while not client.ended:
                signal.pause()
            assert not pipe.came
        finally:
            os._exit(7)
    assert os.read(ours, 100) == b"ready"
    for harmless in (signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD, signal.SIGPIPE):
        os.kill(pid, harmless)
    wait_for(lambda: state(pid) == "S", "the child to sleep")
    os.kill(pid, signum)
    assert reap(pid) == outcome
    os.close(ours)
    os.close(theirs)


def test_a_signal_has_its_name():
    for signum in signal.Signals:
        assert signal_name(signum) == signum.name
    assert signal_name(50) == "50"
