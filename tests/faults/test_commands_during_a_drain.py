"""A daemon that drains for long: what each command makes of it."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from echod.cli.pidfile import PidFile
from support.sockets import exchange
from support.wait import DEADLINE, alive, need, wait_for


@pytest.fixture
def draining(echod):
    """Yield a daemon that drains until its one client's child is resumed, and a function that does that."""
    echod.start(drain_timeout="10min")
    with echod.connect() as conn:
        conn.sendall(b"x")
        assert conn.recv(1) == b"x"
        (child,) = echod.children()
        child.suspend()
        stop = subprocess.Popen(echod.command("stop"))
        echod.started.append(stop)
        wait_for(lambda: echod.status()["state"] == "draining", "the drain")
        yield echod, child.resume
        assert stop.wait(DEADLINE) == 0


def test_start_waits_for_its_end(draining):
    echod, resume = draining
    pid = echod.pid
    start = subprocess.Popen(echod.command("start"), stdout=subprocess.PIPE, text=True)
    assert f"process {pid}, which is draining" in start.stdout.readline()
    assert alive(pid)
    resume()
    assert start.communicate(timeout=DEADLINE)[0] == ""
    assert start.returncode == 0
    assert echod.pid != pid
    assert exchange(echod.address, b"new") == b"new"


def test_a_second_stop_waits_like_the_first(draining):
    echod, resume = draining
    pid = echod.pid
    children = [child.pid for child in echod.children()]
    done = echod.run("stop", "--timeout", "0.2", check=1)
    assert f"process {pid} is still there" in done.stderr
    assert all(map(alive, [pid, *children]))
    resume()
    wait_for(lambda: not alive(pid), "its end")
    assert "reason=drain" in echod.events("close")[0]


def test_force_ends_it(draining):
    echod, _ = draining
    pid = echod.pid
    echod.run("stop", "--timeout", "0.2", "--force", check=0)
    assert not alive(pid)


def test_reload_says_that_it_is_about_to_end(draining):
    echod, resume = draining
    assert "draining and about to end" in echod.run("reload", check=1).stderr
    resume()


def test_a_start_waits_for_a_daemon_that_is_slow_to_exit(echod, tmp_path):
    slow = ["--trace=unlink", "--inject=unlink:delay_exit=1500000", "-o", str(tmp_path / "trace")]
    with subprocess.Popen([need("strace"), "-f", *slow, *echod.command("run")], stderr=subprocess.DEVNULL) as run:
        wait_for(lambda: PidFile(str(echod.pid_file)).holder() and echod.status_or_none(), "the daemon")
        pid = PidFile(str(echod.pid_file)).holder()
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not (echod.home / "echod.pid.scoreboard").exists(), "its scoreboard to be removed")
        assert alive(pid)
        assert f"the end of process {pid}" in echod.run("start", check=0).stdout
        assert echod.pid != pid
        assert exchange(echod.address, b"new") == b"new"
        assert run.wait(DEADLINE) == 0
