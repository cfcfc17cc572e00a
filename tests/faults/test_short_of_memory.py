"""Short of memory, the kernel ends a child before the daemon: oom_score_adj (proc(5))."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.daemon import Echod
from support.memory import MemoryGroup
from support.sockets import exchange
from support.wait import DEADLINE, alive, need, need_root, wait_for

TIGHT_BYTES = 48 << 20
CROWD_CLIENTS = 40
KILLS = 5
AS_NOBODY = ("--reuid", "nobody", "--regid", "nogroup", "--clear-groups")
# takes a little memory for each line that it reads, as a file's: so much is not counted as this process's
HOG = """
import os, sys
fd = os.memfd_create("hog")
print("ready", flush=True)
for _ in sys.stdin:
    os.write(fd, b"x" * (256 << 10))
    print("taken", flush=True)
"""


def score(pid):
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@pytest.mark.parametrize("user", [None, "root"])
def test_a_child_is_the_kernels_first_choice(echod, user):
    if user:
        need_root()
        echod.write(user=user)
    own = score("self")
    echod.start()
    conns = []
    for _ in range(3):
        conns.append(echod.connect())
        conns[-1].sendall(b"x")
        assert conns[-1].recv(1) == b"x"
        wait_for(lambda: score(echod.pid) == own, "the daemon's own score, after the fork")
    assert [score(child.pid) for child in echod.children()] == [min(1000, own + 500)] * 3
    for conn in conns:
        conn.close()


@pytest.fixture
def group():
    with MemoryGroup(64 << 20) as group:
        yield group


@pytest.fixture
def cramped(group, public):
    """Yield a daemon in a cgroup with little memory."""
    daemon = Echod(public, prefix=group.prefix)
    yield daemon
    daemon.prefix = ()
    daemon.cleanup()


@pytest.fixture
def hog(group):
    """Yield a process that takes memory of that cgroup."""
    command = [*group.prefix, sys.executable, "-c", HOG]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()
        process.wait(DEADLINE)


def test_a_child_is_killed_and_the_daemon_serves_on(group, cramped, hog):
    cramped.start()
    cramped.prefix = ()  # status is not to be the victim
    pid, address = cramped.pid, cramped.address
    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(cramped.connect()) for _ in range(8)]
        for conn in conns:
            conn.sendall(b"x")
            assert conn.recv(1) == b"x"
        while not group.kills():
            hog.stdin.write("more\n")
            assert hog.stdout.readline() == "taken\n"
        hog.kill()
        assert alive(pid), "the daemon was killed"
        wait_for(lambda: any("reason=signal=SIGKILL" in line for line in cramped.events("close")), "its line")
        assert cramped.pid == pid
        assert cramped.status()["clients"] == len(conns) - group.kills()
        assert exchange(address, b"and on") == b"and on"


@pytest.fixture
def tight():
    with MemoryGroup(TIGHT_BYTES) as group:
        yield group


def crowd(address):
    """Return clients that come at the same moment, each with more than a child reads without its buffer."""
    conns = []
    for _ in range(CROWD_CLIENTS):
        conn = socket.socket()
        conn.setblocking(False)
        conn.connect_ex(address)
        conns.append(conn)
    for conn in conns:
        with contextlib.suppress(OSError):
            conn.send(bytes(20_000))
    return conns


@pytest.mark.parametrize("how", ["start as root", "start as a user", "run as a user, as the unit does"])
def test_in_a_burst_children_are_killed_and_not_the_daemon(tight, public, how):
    as_user = () if how == "start as root" else (need("setpriv"), *AS_NOBODY)
    daemon = Echod(public, prefix=(*tight.prefix, *as_user), max_children=2000, log_clients="no")
    daemon.config.chmod(0o644)
    conns = []
    try:
        if how.startswith("run"):
            process = subprocess.Popen(daemon.command("run"))
            daemon.started.append(process)
        else:
            daemon.run("start", check=0)
        daemon.prefix = ()
        wait_for(lambda: daemon.pid_or_zero() and daemon.status_or_none(), "the daemon to serve")
        pid, address = daemon.pid, daemon.address
        deadline = time.monotonic() + DEADLINE
        while tight.kills() < KILLS:
            conns += crowd(address)
            assert alive(pid), f"the daemon was killed, {tight.kills()} kills"
            assert time.monotonic() < deadline, "memory never became short"
        assert alive(pid), "the daemon was killed"
    finally:
        for conn in conns:
            conn.close()
        daemon.prefix = ()
        daemon.cleanup()
