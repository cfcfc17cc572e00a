"""Ten thousand clients that end in the same moment."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys

import pytest

from support.processes import zombies
from support.sockets import exchange
from support.wait import DEADLINE, need_root, wait_for

CLIENTS, PROCESSES = 10_000, 2
LONG = 10 * DEADLINE

# connect as many as argv[3] says, have a byte echoed on each, say so, and wait for the end
HOLDER = """
import socket, sys
address, conns = (sys.argv[1], int(sys.argv[2])), []
for _ in range(int(sys.argv[3])):
    conns.append(socket.create_connection(address, 60))
    conns[-1].sendall(b"x")
for conn in conns:
    assert conn.recv(1) == b"x"
print("all", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def limits():
    """Allow this process, and the daemon that it starts, as many descriptors and processes as the test needs."""
    need_root()
    before = {kind: resource.getrlimit(kind) for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)}
    for kind, (soft, hard) in before.items():
        if -1 < soft < 2 * CLIENTS:  # -1 is RLIM_INFINITY
            resource.setrlimit(kind, (2 * CLIENTS, max(hard, 2 * CLIENTS) if hard > -1 else hard))
    yield
    for kind, pair in before.items():
        resource.setrlimit(kind, pair)


@pytest.fixture
def holders():
    """Return a list of client processes, which are killed at the end."""
    started: list[subprocess.Popen] = []
    yield started
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait(DEADLINE)
        process.stdin.close()
        process.stdout.close()


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("limits")
def test_ten_thousand_clients_end_in_the_same_moment(echod, holders):
    echod.start(max_children=CLIENTS, log_clients="no")
    host, port = echod.address
    for _ in range(PROCESSES):
        command = [sys.executable, "-c", HOLDER, host, str(port), str(CLIENTS // PROCESSES)]
        holders.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    for process in holders:
        assert process.stdout.readline() == b"all\n"
    status = echod.status()
    assert (status["clients"], status["peak_clients"]) == (CLIENTS, CLIENTS)
    assert len(status["children"]) == CLIENTS
    for process in holders:
        process.kill()  # the kernel closes all of its connections
    wait_for(lambda: not echod.status()["clients"], "all of them to be reaped", LONG)
    assert not zombies(echod.pid)
    assert not echod.children()
    done = echod.status()
    assert done["accepted"] == done["closed"] == CLIENTS
    assert (done["bytes_in"], done["bytes_out"]) == (CLIENTS, CLIENTS)
    assert exchange(echod.address, b"still here") == b"still here"
