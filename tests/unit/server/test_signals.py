from __future__ import annotations

import os
import select
import signal

import pytest

from echod.common.signals_table import DEFAULT, HANDLED, HIGHEST
from echod.session.session import Session
from support.processes import isolated, reap, signal_set, state
from support.sockets import NEVER, signal_pipe
from support.wait import wait_for


def take(pipe):
    """Return the signals that are pending, as the server's loop takes them."""
    if ready(pipe):
        os.read(pipe.fd, 1 << 16)
    return pipe.take()


def ready(pipe, seconds=5.0):
    return bool(select.select([pipe.fd], [], [], seconds)[0])


def test_a_signal_makes_the_pipe_readable_and_is_pending():
    def check():
        pipe = signal_pipe()
        assert not ready(pipe, 0)
        for signum in HANDLED:
            os.kill(os.getpid(), signum)
        assert ready(pipe)
        assert take(pipe) == set(HANDLED)
        assert not ready(pipe, 0)
        os.kill(os.getpid(), signal.SIGHUP)
        assert take(pipe) == {signal.SIGHUP}

    isolated(check)


def test_more_signals_than_the_pipe_holds_do_no_harm():
    def check():
        pipe = signal_pipe()
        for _ in range(70_000):
            os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        assert take(pipe) == {signal.SIGHUP, signal.SIGTERM}

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
        assert take(pipe) == {signal.SIGTERM}
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()

    isolated(check)


def test_a_signal_without_a_pipe_to_wake_is_pending_all_the_same():
    def check():
        pipe = signal_pipe()
        signal.set_wakeup_fd(-1)
        os.kill(os.getpid(), signal.SIGCHLD)
        assert not ready(pipe, 0)
        assert pipe.take() == {signal.SIGCHLD}

    isolated(check)


def test_what_is_taken_is_pending_no_longer_and_what_comes_then_is():
    def check():
        pipe = signal_pipe()
        os.kill(os.getpid(), signal.SIGHUP)
        taken = take(pipe)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert taken == {signal.SIGHUP}
        assert pipe.pending == {signal.SIGUSR1}

    isolated(check)


C_LIBRARY = {32, 33}  # it keeps these for itself (nptl(7))


def test_every_signal_is_handled_left_at_its_default_or_ignored():
    def check():
        for signum in DEFAULT - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(signum, signal.SIG_DFL)
        signal_pipe()
        pid = os.getpid()
        handled, ignored = signal_set(pid, "SigCgt"), signal_set(pid, "SigIgn")
        assert handled - C_LIBRARY == set(HANDLED)
        assert ignored - C_LIBRARY == set(range(1, HIGHEST + 1)) - set(HANDLED) - DEFAULT - C_LIBRARY
        assert signal_set(pid, "SigBlk") == set()

    isolated(check)


def test_a_signal_is_in_one_part_of_the_table_only():
    assert not set(HANDLED) & DEFAULT
    assert signal.SIGRTMAX == HIGHEST


@pytest.mark.parametrize("signum", sorted(DEFAULT - {signal.SIGKILL, signal.SIGSTOP}))
def test_a_signal_of_the_defaults_is_not_touched(signum):
    def check():
        handler = signal.getsignal(signum)
        signal_pipe()
        assert signal.getsignal(signum) == handler

    isolated(check)


def test_signals_without_a_meaning_here_do_nothing():
    def check():
        pipe = signal_pipe()
        for signum in set(range(1, HIGHEST + 1)) - set(HANDLED) - DEFAULT - C_LIBRARY:
            os.kill(os.getpid(), signum)
        assert not ready(pipe, 0)
        assert pipe.pending == set()

    isolated(check)


def test_signals_wake_the_loop_and_sigchld_is_caught_only_while_that_is_enabled():
    def check():
        pipe = signal_pipe()
        pipe.watch_children(False)
        os.kill(os.getpid(), signal.SIGCHLD)
        os.kill(os.getpid(), signal.SIGTERM)
        assert not ready(pipe, 0)
        assert pipe.take() == {signal.SIGTERM}
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        wait_for(lambda: state(pid) == "Z", "its end: unlike SIG_IGN, the default leaves a zombie")
        assert os.waitpid(pid, 0) == (pid, 0)
        pipe.watch_children(True)
        os.kill(os.getpid(), signal.SIGCHLD)
        assert ready(pipe)
        assert take(pipe) == {signal.SIGCHLD}

    isolated(check)


@pytest.mark.parametrize("call", ["signal", "set_wakeup_fd"])
def test_what_cannot_be_enabled_is_tried_again_and_no_child_inherits_the_wakeup_meanwhile(call):
    def check():
        pipe = signal_pipe()
        pipe.watch_children(False)

        def fail(*_args, **_options):
            raise OSError(22, "Invalid argument")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"echod.server.signals.signal.{call}", fail)
            assert not pipe.watch_children(True)
        assert signal.set_wakeup_fd(-1) == -1
        assert pipe.watch_children(True)
        os.kill(os.getpid(), signal.SIGCHLD)
        assert ready(pipe)
        assert take(pipe) == {signal.SIGCHLD}

    isolated(check)


def test_a_byte_of_a_childs_wakes_the_parent_and_means_nothing_to_it():
    def check():
        pipe = signal_pipe()
        pid = os.fork()
        if pid == 0:
            try:  # it still has the pipe: until a child gives it up, its signals write there
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGHUP)
                assert pipe.pending == {signal.SIGTERM, signal.SIGHUP}
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        assert os.read(pipe.fd, 10).strip(bytes([signal.SIGCHLD])) == bytes([signal.SIGTERM, signal.SIGHUP])
        assert pipe.take() <= {signal.SIGCHLD}

    isolated(check)


@pytest.mark.lean
def test_a_signal_to_a_new_child_is_never_taken_for_the_parents():
    def check():
        pipe = signal_pipe()
        pipe.watch_children(False)
        for _ in range(50):
            pid = os.fork()
            if pid == 0:
                try:
                    while not pipe.pending:
                        select.select([], [], [], 0.001)
                finally:
                    os._exit(0)
            os.kill(pid, signal.SIGTERM)
            while not os.waitpid(pid, os.WNOHANG)[0]:  # the interpreter forgets what comes before it knows of the fork
                os.kill(pid, signal.SIGTERM)
                select.select([], [], [], 0.001)
            assert pipe.pending == set()

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
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            pipe = signal_pipe()
            client = pipe.session = Session(NEVER)
            client.fd = os.open(os.devnull, os.O_RDWR)  # by which it is known to be a child
            os.write(write_end, b"ready")
            while not client.ended:
                signal.pause()
            assert not pipe.pending
        finally:
            os._exit(7)
    assert os.read(read_end, 100) == b"ready"
    for harmless in (signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD, signal.SIGPIPE):
        os.kill(pid, harmless)
    wait_for(lambda: state(pid) == "S", "the child to sleep")
    os.kill(pid, signum)
    assert reap(pid) == outcome
    os.close(read_end)
    os.close(write_end)
