"""A peer that is gone without a word, in each state of its connection: no child and no slot is kept for it."""

from __future__ import annotations

import socket

import pytest

from support.daemon import Echod
from support.network import HERE, Hosts
from support.processes import zombies
from support.stream import fill, receive
from support.wait import wait_for

VANISHED = 3  # peers, as many as there is room for


@pytest.fixture
def hosts():
    with Hosts() as hosts:
        yield hosts


@pytest.fixture
def start(public, hosts):
    """Return a function that starts a daemon with room for VANISHED clients."""
    daemon = Echod(public, prefix=hosts.prefix, listen=f"{HERE}:0", max_children=VANISHED)
    yield daemon.start
    daemon.cleanup()


def vanish(hosts, echod, reasons):
    """Have all of `there` vanish, and wait until nothing is left of it; then there is room for as many as before."""
    hosts.drop(hosts.there)
    wait_for(lambda: len(echod.events("close")) == VANISHED, "the vanished peers to be noticed", 60)
    for line in echod.events("close"):
        assert line.split()[3].removeprefix("reason=") in reasons, line
    done = echod.wait_idle()
    assert done["accepted"] == done["closed"] == VANISHED
    assert not zombies(echod.pid)
    port = echod.port
    served = [hosts.connect(port, hosts.here) for _ in range(VANISHED)]
    for conn in served:
        conn.sendall(b"room")
        assert conn.recv(4) == b"room"
    for conn in served:
        conn.close()
    echod.wait_idle()


TCP_ENDS_IT = ("error=ETIMEDOUT", "error=EHOSTUNREACH")  # the second, when the neighbour does not answer either


def test_idle(start, hosts):
    echod = start(keepalive="1s", idle_timeout="never")
    port = echod.port
    for _ in range(VANISHED):
        hosts.connect(port)
    wait_for(lambda: echod.status()["clients"] == VANISHED, "the clients")
    vanish(hosts, echod, TCP_ENDS_IT)


def under_way(hosts, echod):
    """Connect clients, and have data on its way to them that does not arrive."""
    port = echod.port
    conns = [hosts.connect(port) for _ in range(VANISHED)]
    wait_for(lambda: echod.status()["clients"] == VANISHED, "the clients")
    hosts.drop(hosts.there, hooks=["input"])
    for conn in conns:
        conn.sendall(b"x")
    wait_for(lambda: echod.status()["bytes_out"] == VANISHED, "the echoes to be sent")


def test_data_under_way_until_idle_timeout(start, hosts):
    echod = start(keepalive="never", idle_timeout="3s")
    under_way(hosts, echod)
    vanish(hosts, echod, ["idle"])


def test_data_under_way_until_the_kernel_gives_up(start, hosts):
    hosts.sysctl(hosts.here, "net/ipv4/tcp_retries2", 2)
    echod = start(keepalive="never", idle_timeout="never")
    under_way(hosts, echod)
    vanish(hosts, echod, TCP_ENDS_IT)


@pytest.mark.parametrize("who", ["idle_timeout", "kernel"])
def test_its_window_closed(start, hosts, who):
    if who == "kernel":
        hosts.sysctl(hosts.here, "net/ipv4/tcp_retries2", 2)
    echod = start(keepalive="never", idle_timeout="3s" if who == "idle_timeout" else "never")
    port = echod.port
    for _ in range(VANISHED):
        fill(hosts.connect(port, buffer=2048))
    vanish(hosts, echod, ["idle"] if who == "idle_timeout" else TCP_ENDS_IT)


def test_in_the_middle_of_a_half_close(start, hosts):
    echod = start(keepalive="1s", idle_timeout="3s")
    port = echod.port
    for _ in range(VANISHED):
        conn = hosts.connect(port, buffer=2048)
        fill(conn)
        conn.shutdown(socket.SHUT_WR)
        receive(conn, 10_000)
    vanish(hosts, echod, ["idle", *TCP_ENDS_IT])


@pytest.mark.parametrize("sent", [b"", b"x"], ids=["silent", "has sent"])
def test_in_the_backlog(start, hosts, sent):
    """They vanish while others fill the daemon, and are accepted when those are gone."""
    echod = start(keepalive="1s", idle_timeout="1s")
    port = echod.port
    present = [hosts.connect(port, hosts.here) for _ in range(VANISHED)]
    wait_for(lambda: echod.status()["clients"] == VANISHED, "the clients")
    port = echod.port
    conns = [hosts.connect(port) for _ in range(VANISHED)]
    for conn in conns:
        conn.sendall(sent)
    hosts.drop(hosts.there)
    for conn in present:
        conn.close()
    wait_for(lambda: echod.status()["accepted"] == 2 * VANISHED, "them to be accepted")
    done = echod.wait_idle()
    assert done["closed"] == 2 * VANISHED
    reasons = [line.split()[3].removeprefix("reason=") for line in echod.events("close")[VANISHED:]]
    assert set(reasons) <= {"idle", *TCP_ENDS_IT}


def test_just_accepted(start, hosts):
    """They vanish while the daemon is stopped: it finds connections that nobody is behind."""
    echod = start(keepalive="1s", idle_timeout="never")
    process, port = echod.process(), echod.port
    process.suspend()
    for _ in range(VANISHED):
        hosts.connect(port)
    hosts.drop(hosts.there)
    process.resume()
    vanish(hosts, echod, TCP_ENDS_IT)
