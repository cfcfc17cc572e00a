"""Signals without a meaning to the daemon, whoever sends them, cost neither it nor a client."""

from __future__ import annotations

import os
import signal

from support.sockets import exchange
from support.wait import alive, wait_for

IGNORED = [
    "SIGPIPE",
    "SIGALRM",
    "SIGVTALRM",
    "SIGPROF",
    "SIGIO",
    "SIGWINCH",
    "SIGUSR2",
    "SIGURG",
    "SIGPWR",
    "SIGSTKFLT",
]


def test_they_are_ignored(running):
    pid, address = running.pid, running.address
    with running.connect() as conn:
        conn.sendall(b"x")
        assert conn.recv(1) == b"x"
        (child,) = running.children()
        for signum in [*(getattr(signal, name) for name in IGNORED), signal.SIGRTMIN, signal.SIGRTMAX]:
            os.kill(pid, signum)
            os.kill(child.pid, signum)
            assert exchange(address, b"still here") == b"still here"
        conn.sendall(b"y")
        assert conn.recv(1) == b"y"
    assert alive(pid)


def test_they_do_not_end_a_session_that_has_a_lifetime(echod):
    echod.start(max_lifetime="1h")
    with echod.connect() as conn:
        conn.sendall(b"x")
        assert conn.recv(1) == b"x"
        (child,) = echod.children()
        os.kill(child.pid, signal.SIGALRM)  # of which its timer makes use: it is as if the time were over
        assert conn.recv(1) == b""
    wait_for(lambda: "reason=lifetime" in echod.events("close")[0] if echod.events("close") else False, "the close")
