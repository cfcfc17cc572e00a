"""`run` under the supervisors people have: runit, s6, supervisord: ready, reloaded, killed, drained."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import socket
import subprocess

import pytest

from support.wait import DEADLINE, need, wait_for

SUPERVISORD = """
[supervisord]
nodaemon = true
logfile = {home}/supervisord.log
pidfile = {home}/supervisord.pid
[unix_http_server]
file = {home}/sock
[supervisorctl]
serverurl = unix://{home}/sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[program:echod]
command = {command}
stopwaitsecs = 15
stderr_logfile = {home}/echod.stderr
"""


class Runit:
    """runsv(8) with `exec echod run`."""

    def __init__(self, echod):
        self.service = echod.home / "service"
        script(self.service / "run", echod.command("run"))
        self.command = [need("runsv"), str(self.service)]

    def control(self, what):
        """Send hup or stop."""
        subprocess.run([need("sv"), "-w", "15", what, str(self.service)], check=True, capture_output=True)


class S6:
    """s6-supervise with `exec echod run --ready-fd 3` and a file notification-fd."""

    def __init__(self, echod):
        self.service = echod.home / "service"
        script(self.service / "run", echod.command("run", "--ready-fd", "3"))
        (self.service / "notification-fd").write_text("3\n")
        self.command = [need("s6-supervise"), str(self.service)]

    def control(self, what):
        """Send hup or stop."""
        option = {"hup": ["-h"], "stop": ["-wD", "-T", "15000", "-d"]}[what]
        subprocess.run([need("s6-svc"), *option, str(self.service)], check=True)

    def wait_ready(self):
        """Wait until s6 has been told that it accepts."""
        wait_for((self.service / "supervise" / "control").exists, "s6-supervise")
        subprocess.run([need("s6-svwait"), "-U", "-t", "20000", str(self.service)], check=True)


class Supervisord:
    """supervisord with `command = echod run`."""

    def __init__(self, echod):
        self.config = echod.home / "supervisord.conf"
        self.config.write_text(SUPERVISORD.format(home=echod.home, command=shlex.join(echod.command("run"))))
        self.command = [need("supervisord"), "-c", str(self.config)]

    def control(self, what):
        """Send hup or stop."""
        words = {"hup": ["signal", "HUP", "echod"], "stop": ["stop", "echod"]}[what]
        subprocess.run([need("supervisorctl"), "-c", str(self.config), *words], check=True, capture_output=True)


def script(path, command):
    """Write a program that executes a command."""
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\nexec {shlex.join(command)}\n")
    path.chmod(0o755)


@pytest.fixture(params=[Runit, S6, Supervisord])
def supervisor(request, echod):
    """Yield a supervisor that runs echod."""
    found = request.param(echod)
    with subprocess.Popen(found.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield found
        finally:
            process.send_signal(signal.SIGTERM)  # each ends its service first
            process.wait(DEADLINE)


def test_a_life_under_a_supervisor(echod, supervisor):
    if isinstance(supervisor, S6):
        supervisor.wait_ready()
        assert echod.status()["state"] == "running", "ready means that it accepts"
    wait_for(echod.status_or_none, "echod")

    echod.write(max_children="7")
    supervisor.control("hup")
    wait_for(lambda: echod.status()["max_children"] == 7, "the reload")

    before = echod.pid
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: (echod.status_or_none() or {}).get("pid", before) != before, "the next one")

    with echod.connect() as conn:
        conn.sendall(b"hello")
        assert conn.recv(100) == b"hello"
        supervisor.control("stop")
        assert conn.recv(100) == b"", "in order"
        assert conn.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert echod.run("status").returncode == 3
    assert "reason=drain in=5 out=5" in echod.log.read_text()


def test_the_ready_descriptor_gets_a_newline_and_its_end(echod):
    read_end, write_end = os.pipe()
    process = subprocess.Popen(echod.command("run", "--ready-fd", write_end), pass_fds=[write_end])
    echod.started.append(process)
    os.close(write_end)
    with open(read_end, "rb") as file:
        assert file.read() == b"\n"
    wait_for(echod.status_or_none, "echod")
    echod.run("stop", check=0)
    assert process.wait(DEADLINE) == 0


def test_whoever_is_told_that_it_is_ready_finds_it_running(echod):
    """The descriptor is a full pipe, so the daemon stays in the middle of telling."""
    read_end, write_end = os.pipe()
    full = b"x" * fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    os.write(write_end, full)
    process = subprocess.Popen(echod.command("run", "--ready-fd", write_end), pass_fds=[write_end])
    echod.started.append(process)
    os.close(write_end)
    with open(read_end, "rb") as file:
        assert wait_for(echod.status_or_none, "the daemon")["max_children"] == 256
        assert file.read() == full + b"\n"
    echod.run("stop", check=0)


def test_nobody_reads_what_is_ready(echod):
    """That is no reason to stop."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = subprocess.Popen(echod.command("run", "--ready-fd", write_end), pass_fds=[write_end])
    echod.started.append(process)
    os.close(write_end)
    wait_for(echod.status_or_none, "echod")
    echod.run("stop", check=0)
    assert process.wait(DEADLINE) == 0


@pytest.mark.parametrize(
    ("number", "why"),
    [
        ("77", "argument --ready-fd: '77' is not an open descriptor"),
        ("x", "argument --ready-fd: 'x' is not an open descriptor"),
    ],
)
def test_no_such_descriptor(echod, number, why):
    done = echod.run("run", "--ready-fd", number, check=2)
    assert done.stderr.startswith(f"echod: {why}")
