"""A bug in a child costs its client, is logged at error with its place, and nobody else notices."""

from __future__ import annotations

import os
import shutil

import pytest

from support.daemon import SOURCE, Echod
from support.sockets import exchange
from support.wait import wait_for

BUG = "            counters[at + RECEIVED] = received\n"
PLANTED = BUG + '            if data == b"bug":\n                raise KeyError("planted")\n'


@pytest.fixture
def buggy(public):
    """Return a daemon, not started, of a copy of echod in which a client may meet a bug."""
    shutil.copytree(SOURCE, public / "src" / "echod", ignore=shutil.ignore_patterns("__pycache__"))
    session = public / "src" / "echod" / "session" / "session.py"
    text = session.read_text()
    assert BUG in text
    session.write_text(text.replace(BUG, PLANTED))
    echod = Echod(public, prefix=("env", f"PYTHONPATH={public}/src"))
    yield echod
    echod.cleanup()


@pytest.mark.parametrize("log_clients", ["yes", "no"])
def test_it_is_told_with_its_place(buggy, log_clients):
    buggy.start(log_clients=log_clients)
    with buggy.connect() as other:
        assert exchange(buggy.address, b"bug") == b""
        (crash,) = wait_for(lambda: buggy.events("crash"), "the crash")
        assert "KeyError" in crash
        assert "session.py:" in crash
        assert any("reason=error=CRASHED" in line for line in buggy.events("close"))
        other.sendall(b"x")
        assert other.recv(1) == b"x"
    assert os.path.exists(buggy.pid_file)


def test_a_child_that_was_killed_is_told_though_clients_are_not_logged(echod):
    echod.start(log_clients="no")
    with echod.connect() as conn:
        conn.sendall(b"x")
        assert conn.recv(1) == b"x"
        (child,) = echod.children()
        child.kill()
        (close,) = wait_for(lambda: echod.events("close"), "the close")
    assert "reason=signal=SIGKILL" in close
    exchange(echod.address, b"x")
    echod.wait_idle()
    assert len(echod.events("close")) == 1
