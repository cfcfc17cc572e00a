from __future__ import annotations

import os
import select
import signal
from functools import partial

import pytest

from conftest import wait_for
from echod.signals import HANDLED, Blocked, SignalPipe, name, restore_in_child
from pieces import fork, isolated, reap, state


def ready(pipe, seconds=5.0):
    return bool(select.select([pipe.fd], [], [], seconds)[0])


def test_a_signal_makes_the_pipe_readable_and_drain_tells_which():
    def check():
        pipe = SignalPipe()
        assert not ready(pipe, 0)
        assert pipe.drain() == set()
        for signum in HANDLED:
            os.kill(os.getpid(), signum)
        assert ready(pipe)
        assert pipe.drain() == set(HANDLED)
        assert not ready(pipe, 0)

    isolated(check)


def test_more_signals_than_the_pipe_holds_do_no_harm():
    def check():
        pipe = SignalPipe()
        for _ in range(70_000):
            os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        assert signal.SIGHUP in pipe.drain()

    isolated(check)


def test_the_pipe_neither_blocks_nor_survives_an_exec():
    def check():
        pipe = SignalPipe()
        assert not os.get_blocking(pipe.fd)
        assert not os.get_inheritable(pipe.fd)
        assert not os.get_inheritable(signal.set_wakeup_fd(-1))

    isolated(check)


def test_signals_that_waited_for_the_pipe_are_not_lost():
    def check():
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        os.kill(os.getpid(), signal.SIGTERM)
        pipe = SignalPipe()
        assert ready(pipe)
        assert pipe.drain() == {signal.SIGTERM}
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()

    isolated(check)


def test_sigpipe_is_ignored():
    def check():
        SignalPipe()
        assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN

    isolated(check)


def test_blocked_signals_wait_until_the_end():
    def check():
        pipe = SignalPipe()
        for signum in HANDLED:  # one by one: the small stack that pytest's faulthandler sets up has no room for six
            with Blocked():
                os.kill(os.getpid(), signum)
                assert signal.sigpending() == {signum}
                assert not ready(pipe, 0)
            assert ready(pipe)
            assert pipe.drain() == {signum}

    isolated(check)


def test_blocked_signals_are_let_through_after_an_error():
    def check():
        SignalPipe()
        with pytest.raises(OSError, match="fork"), Blocked():
            raise OSError("fork")
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()

    isolated(check)


def note(ended, signum, _frame):
    ended.append(signum)


def test_a_signal_to_a_fresh_child_never_arrives_in_the_parents_pipe():
    def check():
        pipe = SignalPipe()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for _ in range(200):
            with Blocked():
                pid = os.fork()
                if pid == 0:
                    code = 1
                    try:
                        ended: list[int] = []
                        restore_in_child(partial(note, ended))
                        while not ended:
                            select.select([], [], [], 0.001)
                        code = ended[0]
                    finally:
                        os._exit(code)
                os.kill(pid, signal.SIGTERM)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == signal.SIGTERM
            assert pipe.drain() == set()

    isolated(check)


@pytest.mark.parametrize(
    ("signum", "outcome"),
    [
        (signal.SIGTERM, 7),
        (signal.SIGQUIT, 7),
        (signal.SIGALRM, 7),
        (signal.SIGINT, -signal.SIGINT),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_a_child_has_signals_of_its_own(signum, outcome):
    def serve():
        SignalPipe()
        with Blocked():
            pid = fork(sleep)
        os.write(theirs, b"%d\n" % pid)
        return reap(pid) & 0xFF

    def sleep():
        restore_in_child(lambda *_: os._exit(7))
        os.write(theirs, b"ready ")
        while True:
            signal.pause()

    ours, theirs = os.pipe()
    parent = fork(serve)
    told = b""
    while b"ready" not in told or b"\n" not in told:
        told += os.read(ours, 100)
    child = int(told.replace(b"ready", b""))
    for harmless in (signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD, signal.SIGPIPE):
        os.kill(child, harmless)
    wait_for(lambda: state(child) == "S", "the child to sleep")
    os.kill(child, signum)
    assert reap(parent) == outcome & 0xFF
    os.close(ours)
    os.close(theirs)


def test_a_signal_has_its_name():
    for signum in signal.Signals:
        assert name(signum) == signum.name
    assert name(50) == "50"
