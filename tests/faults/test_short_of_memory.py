"""Short of memory, the kernel ends a child before the daemon: oom_score_adj (proc(5))."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from support.daemon import Echod
from support.memory import MemoryGroup
from support.sockets import exchange
from support.wait import DEADLINE, alive, need_root, wait_for

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
