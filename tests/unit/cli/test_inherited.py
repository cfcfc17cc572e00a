from __future__ import annotations

import os
import resource
import signal

import pytest

from echod.cli import inherited
from echod.common.errors import EchodError
from support.processes import isolated, signal_set
from support.sockets import settings


@pytest.mark.parametrize("proc", [True, False])
def test_what_was_inherited_is_closed(monkeypatch, proc):
    def check():
        high = os.dup2(1, 200)
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 300))
        if not proc:
            monkeypatch.setattr(os, "listdir", lambda _path: (_ for _ in ()).throw(FileNotFoundError()))
        kept = os.dup2(1, 90)
        inherited.close_inherited(3, kept)
        for fd in (3, kept - 1, kept + 1, high):
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(fd)
        for fd in (2, kept):
            os.fstat(fd)
        inherited.close_inherited(3)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(kept)

    isolated(check)


def test_signals_are_blocked_and_have_their_defaults():
    def check():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        inherited.reset_signals()
        assert {signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM} <= signal_set(os.getpid(), "SigBlk")
        assert signal.SIGHUP not in signal_set(os.getpid(), "SigIgn")

    isolated(check)


@pytest.mark.parametrize(("pid", "count", "passed"), [("", "2", 0), ("{}", "2", 2), ("{}", "x", 0), ("1", "2", 0)])
def test_sockets_that_were_passed_to_this_process(monkeypatch, pid, count, passed):
    monkeypatch.setenv("LISTEN_PID", pid.format(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", count)
    assert inherited.passed_sockets() == passed


def test_a_descriptor_is_moved_only_when_it_is_in_the_way():
    read_end, write_end = os.pipe()
    assert inherited.above(read_end, read_end) == read_end
    moved = inherited.above(read_end, read_end + 50)
    assert moved >= read_end + 50
    assert not os.get_inheritable(moved)
    for fd in (read_end, write_end, moved):
        os.close(fd)


def test_room_for_the_sockets_is_counted():
    assert inherited.lowest_fd(settings("listen=127.0.0.1:0 [::1]:0")) == 6
    assert inherited.lowest_fd(settings("listen=*:0"), passed=2) == 8
    assert inherited.lowest_fd(settings("listen=localhost:0")) == 8


def test_more_addresses_than_descriptors_are_an_error(monkeypatch):
    config = settings("listen=" + " ".join(f"127.0.0.{number}:0" for number in range(1, 101)))
    for most in (resource.RLIM_INFINITY, 120):
        monkeypatch.setattr(resource, "getrlimit", lambda _kind, most=most: (most, most))
        inherited.refuse_too_many(config)
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (119, 119))
    with pytest.raises(EchodError, match="100 addresses need 120 descriptors, and the limit is 119"):
        inherited.refuse_too_many(config)
