from __future__ import annotations

import errno
import os
import resource
from types import SimpleNamespace
from typing import Any

import pytest

from echod.common.scoreboard import (
    FORK_FAILED,
)
from echod.server.acceptor import FOREVER, FULL, OPEN, PAUSED
from support.processes import NOBODY, isolated
from support.sockets import Front, is_rejected, is_served
from support.wait import need_root


def test_a_fork_that_fails_costs_its_client_and_a_pause():
    need_root()

    def check():
        front = Front()
        before = os.listdir("/proc/self/fd")
        os.setresuid(NOBODY, NOBODY, NOBODY)
        soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, hard))
        unlucky, patient = front.connect(), front.connect()
        assert front.accept() == 1
        assert is_rejected(unlucky)
        assert front.count(FORK_FAILED) == [1]
        assert front.acceptor.state == PAUSED
        assert front.poller.registered == set()
        assert front.accept() == 0
        assert [text.split()[0] for text in front.lines.texts] == ["refuse", "error"]
        assert len(os.listdir("/proc/self/fd")) == len(before) + 2, "the clients' ends"
        resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
        resume_at = front.acceptor.resume_at
        front.acceptor.resume(resume_at - 0.001)
        assert front.acceptor.state == PAUSED
        front.acceptor.resume(resume_at)
        assert front.acceptor.state == OPEN
        assert front.acceptor.resume_at == FOREVER
        assert front.accept() == 1
        assert is_served(patient)
        front.end(patient)

    isolated(check)


@pytest.mark.parametrize("full", [False, True])
def test_without_descriptors_there_is_a_pause_and_the_client_waits(full):
    def check():
        front = Front("max_children=1" if full else "max_children=9", "over_limit=refuse")
        first = front.connect()
        front.accept()
        second = front.connect()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        assert front.accept() == 0
        assert front.acceptor.state == PAUSED
        assert front.lines.texts[-1] == "error call=accept4 why='Too many open files'"
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        front.acceptor.resume(front.acceptor.resume_at)
        assert front.acceptor.state == (FULL if full else OPEN)
        assert front.accept() == 1
        assert is_rejected(second) if full else is_served(second)
        front.end(first, second)

    isolated(check)


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN])
def test_an_error_of_the_clients_is_no_pause(number):
    def check():
        front = Front()
        (listener,) = front.listeners
        failing: Any = SimpleNamespace(name=listener.name)

        def accept():
            raise OSError(number, os.strerror(number))

        failing.accept = accept
        assert front.acceptor.accept(failing) == 1, "counted: what is due is done in time"
        assert front.acceptor.state == OPEN
        assert front.lines.texts == []

    isolated(check)


def test_to_accept_without_memory_is_a_pause():
    def check():
        front = Front()
        (listener,) = front.listeners
        failing: Any = SimpleNamespace(name=listener.name)

        def accept():
            raise MemoryError

        failing.accept = accept
        assert front.acceptor.accept(failing) == 0
        assert front.acceptor.state == PAUSED
        assert front.lines.texts == ["error call=accept4 why='MemoryError'"]
        front.acceptor.resume(front.acceptor.resume_at)
        client = front.connect()
        assert front.accept() == 1
        assert is_served(client)
        front.end(client)

    isolated(check)
