"""What needs the kernel's view of a connection, or a network of its own."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from support.daemon import Echod
from support.processes import connection_of, socket_of
from support.wait import DEADLINE, need, need_root, wait_for


def test_options_of_accepted_sockets(echod):
    echod.start(keepalive="30s")
    with echod.connect() as conn:
        conn.sendall(b"x")
        conn.recv(1)
        (child,) = echod.children()
        with socket_of(child.pid, connection_of(child.pid)) as theirs:
            tcp = socket.IPPROTO_TCP
            assert theirs.getpeername() == conn.getsockname()
            assert theirs.getsockopt(tcp, socket.TCP_NODELAY) == 1
            assert theirs.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert theirs.getsockopt(tcp, socket.TCP_KEEPIDLE) == 30
            assert theirs.getsockopt(tcp, socket.TCP_KEEPINTVL) == 10
            assert theirs.getsockopt(tcp, socket.TCP_KEEPCNT) == 3
            assert theirs.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 0
            assert theirs.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE) == 1
        echod.write(keepalive="never")
        echod.run("reload", check=0)
        with echod.connect() as second:
            second.sendall(b"x")
            second.recv(1)
            (child,) = [process for process in echod.children() if process != child]
            with socket_of(child.pid, connection_of(child.pid)) as theirs:
                assert theirs.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


@pytest.fixture
def two_hosts():
    """Return the names of two network namespaces joined by a cable: 192.0.2.1 in the first, 192.0.2.2 in the second."""
    need_root()
    ip = need("ip")
    here, there = (f"echod-test-{os.getpid()}-{side}" for side in "ab")

    def run(*words):
        subprocess.run([ip, *words], check=True, timeout=DEADLINE)

    try:
        run("netns", "add", here)
        run("netns", "add", there)
        run("-n", here, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", there)
        for name, address in ((here, "192.0.2.1/24"), (there, "192.0.2.2/24")):
            run("-n", name, "address", "add", address, "dev", "cable")
            run("-n", name, "link", "set", "cable", "up")
        yield here, there
    finally:
        for name in (here, there):
            subprocess.run([ip, "netns", "delete", name], check=False, timeout=DEADLINE)


@pytest.mark.parametrize("sending", [False, True], ids=["idle", "with unread echoes"])
def test_a_peer_that_vanishes_is_noticed(public, two_hosts, sending):
    here, there = two_hosts
    ip = need("ip")
    echod = Echod(public, prefix=(ip, "netns", "exec", here), listen="192.0.2.1:0", keepalive="1s")
    if sending:
        echod.write(idle_timeout="2s")  # keep-alive is for those with nothing under way
    source = "EXEC:cat /dev/zero" if sending else "EXEC:sleep 1000"
    try:
        echod.start()
        client = subprocess.Popen(
            [ip, "netns", "exec", there, need("socat"), "-u", source, f"TCP:192.0.2.1:{echod.port}"]
        )
        wait_for(lambda: echod.status()["clients"] == 1, "the client")
        if sending:
            wait_for(lambda: echod.status()["bytes_in"] > 100_000, "some bytes")
        subprocess.run([ip, "-n", there, "link", "set", "cable", "down"], check=True, timeout=DEADLINE)
        wait_for(lambda: echod.events("close"), "the vanished peer to be noticed")
        reasons = ("reason=idle",) if sending else ("reason=error=ETIMEDOUT", "reason=error=EHOST")
        assert any(reason in echod.events("close")[0] for reason in reasons)
        echod.wait_idle()
    finally:
        client.kill()
        client.wait(DEADLINE)
        echod.cleanup()
