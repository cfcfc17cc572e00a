"""Each command without calls, or modules of Python, that echod can do without: it works, or names what it lacks."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from support.wait import DEADLINE, alive, wait_for

WHERE = ("linux-4.18", "no-calls", "sandbox", "bare-python")


def test_restart(serving):
    before = serving.pid
    serving.run("restart", check=0)
    wait_for(lambda: serving.pid != before, "another daemon")
    assert not alive(before)
    serving.connect().close()


def test_reopen(serving):
    os.rename(serving.log, f"{serving.log}.1")
    serving.run("reopen", check=0)
    assert serving.log.exists()
    os.replace(f"{serving.log}.1", serving.log)  # its `ready` line has the address
    serving.run("reopen", check=0)


def test_check(serving):
    assert "[echod]" in serving.run("check", check=0).stdout


@pytest.mark.parametrize("form", ["--json", "--openmetrics", "--processes"])
def test_status(serving, form):
    done = serving.run("status", form)
    assert done.returncode in (0, 1)
    assert done.stdout
    assert "Traceback" not in done.stderr


def test_start_finds_it(serving):
    assert f"already running, pid {serving.pid}" in serving.run("start", check=0).stdout


def test_upgrade_by_signal(serving):
    pid, upgrades = serving.pid, len(serving.events("upgrade"))
    os.kill(pid, signal.SIGUSR2)
    wait_for(lambda: len(serving.events("upgrade")) > upgrades, "the upgrade")
    assert serving.pid == pid
    serving.connect().close()


def test_a_reload_that_needs_more_room(serving):
    serving.write(max_children=3000)
    serving.run("reload", check=0)
    serving.connect().close()


def test_stop_force(daemon):
    """The client keeps its connection open, so that a child is there to be killed."""
    daemon.start(drain_timeout="never")
    with daemon.connect() as conn:
        conn.sendall(b"x")
        assert conn.recv(1) == b"x"
        (child,) = daemon.children()
        os.kill(child.pid, signal.SIGSTOP)
        pid = daemon.pid
        daemon.run("stop", "--timeout", 0, "--force", check=0)
        assert not alive(pid)
        assert not alive(child.pid)


def test_start_fails_in_one_line(daemon):
    done = daemon.run("start", "-o", "user=root", "-o", "directory=/nonexistent")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "/nonexistent" in done.stderr


def test_inetd(place):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"hello")
        ours.shutdown(socket.SHUT_WR)
        done = place.run("-m", "echod", "-o", "log=none", "inetd", stdin=theirs)
        assert (done.returncode, done.stderr) == (0, "")
        ours.settimeout(DEADLINE)
        assert ours.recv(100) == b"hello"


def test_watch(place, serving):
    done = serving.run("status", "--watch")
    if place.python.endswith("/python") and not os.path.islink(place.python):  # the bare one
        assert done.returncode == 5
        assert "this Python" in done.stderr
        assert "was built without it" in done.stderr
    else:
        assert done.stderr == "echod: status: --watch needs a terminal\n"
    assert done.stderr.count("\n") == 1
