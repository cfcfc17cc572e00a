from __future__ import annotations

import errno
import os
import resource
import signal

import pytest

from echod.common import scoreboard
from echod.log.log import INFO
from echod.server import children as module
from echod.session.session import Session
from support.family import ADDRESS, COUNTED, PEER, Family, exited
from support.processes import NOBODY, isolated
from support.sockets import NEVER, tcp_pair
from support.wait import need_root


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ECHILD])
def test_a_wait_that_fails_is_tried_again(number):
    def check():
        family = Family()
        client = family.spawn()
        client.close()
        exited(family.only())
        calls: list[tuple] = []

        def fail(*args):
            calls.append(args)
            raise OSError(number, os.strerror(number))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "waitpid", fail)
            assert family.children.reap() == ([], {})
        assert calls
        assert not family.children.watched
        assert family.reasons() == ["eof"]
        family.children.watched = False
        assert family.children.reap() == ([], {})
        assert family.children.watched, "ECHILD with nobody in the table: there is nobody to wait for"

    isolated(check)


class Broken(Session):
    """A session with a bug, in the line after `run`."""

    __slots__ = ()

    def run(self, *args):
        super().run(*args)
        raise ZeroDivisionError


PLACE = Broken.run.__code__.co_firstlineno + 2


@pytest.mark.parametrize("recorded", [True, False])
def test_a_crash_in_a_child_stays_there_and_is_logged_with_its_place(recorded):
    def check():
        family = Family()
        family.children.session = Broken(NEVER)
        client = family.spawn()
        pid = family.only()
        if recorded:
            family.children.reap()
        client.close()
        exited(pid)
        assert family.reasons() == ["error=CRASHED"]
        (line,) = family.lines.events("crash")
        assert line.startswith(f"crash child={pid} at='ZeroDivisionError ")
        assert line.endswith(f"test_children_faults.py:{PLACE}'")
        family.children.session = Session(NEVER)
        family.spawn().close()
        assert family.reasons() == ["error=CRASHED", "eof"]

    isolated(check)


@pytest.mark.parametrize("level", ["error", "warning"])
def test_a_crash_is_logged_at_error(level):
    def check():
        family = Family(f"log_level={level}", "log_clients=no")
        family.children.session = Broken(NEVER)
        client = family.spawn()
        family.children.reap()
        client.close()
        family.reap()
        assert [text.split()[0] for text in family.lines.texts] == ["crash"]

    isolated(check)


def test_without_log_clients_those_are_logged_that_a_signal_or_a_bug_ended():
    def check():
        family = Family("log_clients=no")
        family.spawn().close()
        family.reap()
        assert family.lines.texts == []
        client = family.spawn()
        os.kill(family.only(), signal.SIGKILL)
        client.close()
        assert family.reasons() == ["signal=SIGKILL"]
        family.children.session = Broken(NEVER)
        family.spawn().close()
        assert family.reasons() == ["signal=SIGKILL", "error=CRASHED"]
        assert len(family.lines.events("crash")) == 1

    isolated(check)


def test_a_fork_that_fails_takes_no_slot_and_no_descriptor():
    need_root()

    def check():
        family = Family()
        os.setresuid(NOBODY, NOBODY, NOBODY)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        client, conn = tcp_pair()
        before = os.listdir("/proc/self/fd")
        for _ in range(3):
            with pytest.raises(BlockingIOError, match="temporarily unavailable"):
                family.children.spawn(conn.fileno(), ADDRESS)
        assert os.listdir("/proc/self/fd") == before
        assert family.children.table == {}
        assert family.children.reap() == ([], {})
        assert family.words(scoreboard.TOP, *COUNTED) == [1, 0, 0, 0]
        os.kill(os.getpid(), signal.SIGHUP)
        assert family.signals.pending == {signal.SIGHUP}
        client.close()
        conn.close()

    isolated(check)


def test_a_fork_that_fails_leaves_no_name_for_the_next_client():
    need_root()

    def check():
        family = Family()
        family.configure("proxy_from=127.0.0.1")
        os.setresuid(NOBODY, NOBODY, NOBODY)
        before = resource.getrlimit(resource.RLIMIT_NPROC)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, before[1]))
        with pytest.raises(BlockingIOError, match="temporarily unavailable"):
            family.children.spawn(0, ("127.0.0.1", 4))
        resource.setrlimit(resource.RLIMIT_NPROC, before)
        family.configure()
        client = family.spawn()
        family.children.reap()
        assert [entry[1] for entry in family.reader.copy().clients()] == [PEER]
        client.close()
        family.reap()

    isolated(check)


class Full(dict):
    """A table without memory for one more."""

    def __setitem__(self, key, value):
        raise MemoryError


@pytest.mark.parametrize("step", ["table", "log"])
def test_a_child_for_which_there_is_no_memory_is_ended(step, monkeypatch):
    def check():
        family = Family(*["log_level=debug"] * (step == "log"))
        client, conn = tcp_pair()
        if step == "table":
            family.children.table = Full()
        else:
            monkeypatch.setattr(family.log, "debug", lambda _: _no_memory())
        with pytest.raises(MemoryError):
            family.children.spawn(conn.fileno(), ADDRESS)
        conn.close()
        assert client.recv(1) == b"", "no child has the connection"
        assert not family.children.table
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        family.children.table, family.log.level = {}, INFO
        family.spawn().close()
        family.reap()
        assert family.words(scoreboard.TOP, *COUNTED) == [1, 1, 1, 1], "its slot is used again"

    isolated(check)


def _no_memory():
    raise MemoryError
