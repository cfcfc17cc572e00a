"""A signal reaches the daemon between its lock and its handlers: it is taken when the server is ready."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from echod.cli.pidfile import PidFile
from support.processes import signal_set
from support.wait import DEADLINE, need, wait_for

# the time after the pid was written, with the lock held
SLOW = ["--trace=pwrite64", "--inject=pwrite64:delay_exit=2000000"]


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGUSR1])
def test_it_does_not_end_the_daemon(echod, tmp_path, signum):
    command = [need("strace"), "-f", *SLOW, "-o", str(tmp_path / "trace"), *echod.command("start")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as start:
        pid = wait_for(lambda: PidFile(str(echod.pid_file)).holder(), "the lock")
        assert {signal.SIGUSR2, signal.SIGALRM, signal.SIGIO, signum} <= signal_set(pid, "SigBlk")
        os.kill(pid, signum)
        wait_for(lambda: start.poll() is not None or echod.status_or_none(), "the daemon")
        os.kill(pid, 0)
        assert echod.status()["pid"] == pid
        echod.run("stop", check=0)  # strace ends with its last process
        assert start.wait(DEADLINE) == 0, start.stderr.read()


def test_none_is_let_through_while_it_holds_the_lock_in_the_foreground(echod, tmp_path):
    command = [need("strace"), *SLOW, "-o", str(tmp_path / "trace"), *echod.command("run")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as run:
        pid = wait_for(lambda: PidFile(str(echod.pid_file)).holder(), "the lock")
        os.kill(pid, signal.SIGHUP)
        wait_for(lambda: run.poll() is not None or echod.status_or_none(), "the daemon")
        assert echod.status()["pid"] == pid
        echod.run("stop", check=0)
        assert run.wait(DEADLINE) == 0
