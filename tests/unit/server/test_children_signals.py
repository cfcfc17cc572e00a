from __future__ import annotations

import os
import select
import signal

from echod.common.signals_table import HANDLED
from echod.server.children import Children
from echod.server.lean.warm_up import warm_up
from echod.server.signals import SignalPipe
from support.family import Family, exited
from support.processes import isolated
from support.sockets import make_board, memory_log, settings
from support.wait import wait_for


def test_while_clients_come_sigchld_is_not_caught_and_nobody_is_missed():
    def check():
        family = Family()
        client = family.spawn()
        assert not family.children.watched
        client.close()
        exited(family.only())
        assert not family.signals.pending
        assert not select.select([family.signals.fd], [], [], 0)[0]
        assert family.reasons() == ["eof"]
        assert family.children.watched
        client = family.spawn()
        assert family.signals.watch_children(True)
        client.close()
        wait_for(lambda: signal.SIGCHLD in family.signals.pending, "SIGCHLD")
        assert family.reasons() == ["eof"] * 2

    isolated(check)


def test_children_can_be_drained_and_killed():
    def check():
        family = Family()
        clients = [family.spawn() for _ in range(3)]
        for client in clients:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        family.children.send(signal.SIGTERM)
        assert [client.recv(1) for client in clients] == [b""] * 3
        for client in clients:
            client.close()
        assert family.reasons() == ["drain"] * 3
        clients = [family.spawn() for _ in range(3)]
        family.children.send(signal.SIGKILL)
        assert family.reasons()[3:] == ["signal=SIGKILL"] * 3

    isolated(check)


def test_a_child_that_is_drained_as_soon_as_it_is_there_ends_and_crashes_never():
    def check():
        family = Family()
        for _ in range(60):
            client = family.spawn()
            family.children.send(signal.SIGTERM)
            while not select.select([client], [], [], 0.001)[0]:
                family.children.send(signal.SIGTERM)
            assert client.recv(1) == b""
            client.close()
        assert set(family.reasons()) <= {"drain", "eof"}

    isolated(check)


def test_signalling_one_that_has_exited_and_is_not_reaped_does_no_harm():
    def check():
        family = Family()
        family.spawn().close()
        exited(family.only())
        family.children.send(signal.SIGTERM)
        family.children.send(signal.SIGKILL)
        assert family.reasons() == ["eof"]

    isolated(check)


def test_a_signal_during_the_warm_up_is_the_daemons():
    def check():
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        signals = SignalPipe()
        before = Children.spawn
        sent: list[int] = []

        def interrupted(self, *args):
            if not sent:
                sent.extend([signal.SIGTERM, signal.SIGCHLD])
                for signum in sent:
                    os.kill(os.getpid(), signum)
            return before(self, *args)

        Children.spawn = interrupted  # type: ignore[method-assign]
        board = make_board()
        children = Children(board, signals, settings(), memory_log()[0])
        warm_up(children, settings(), board)
        signals.open()
        assert signals.session is children.session
        assert children.session.fd < 0
        assert signals.pending == {signal.SIGTERM, signal.SIGCHLD}
        assert children.session.ended == 0

    isolated(check)
