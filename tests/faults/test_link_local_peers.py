"""Link-local clients, whose address means nothing without its interface: two links with the same addresses on each."""

from __future__ import annotations

import contextlib
import re
import socket

import pytest

from support.daemon import Echod
from support.network import Hosts
from support.sockets import receive_all
from support.wait import DEADLINE, wait_for

LINKS = ("cable", "other")
SERVER, CLIENT = "fe80::1", "fe80::2"


@pytest.fixture
def hosts():
    """Yield two hosts joined by two cables, the addresses of one end the same on both."""
    with Hosts() as hosts:
        hosts.ip(hosts.here, "link", "add", "other", "type", "veth", "peer", "name", "other", "netns", hosts.there)
        for name, address in ((hosts.here, SERVER), (hosts.there, CLIENT)):
            for link in LINKS:
                hosts.ip(name, "link", "set", link, "up")
                hosts.ip(name, "address", "add", f"{address}/64", "dev", link, "nodad")
        yield hosts


@pytest.fixture
def daemon(hosts, public):
    """Yield a daemon that listens on both links."""
    echod = Echod(public, prefix=hosts.prefix)
    yield echod
    echod.cleanup()


@pytest.fixture
def connect(hosts):
    """Return a function that connects over a link; its connections are closed at the end."""
    with contextlib.ExitStack() as conns:

        def connect(link, port):
            with hosts.enter(hosts.there):
                conn = conns.enter_context(socket.socket(socket.AF_INET6))
                conn.settimeout(DEADLINE)
                conn.bind((CLIENT, 0, 0, socket.if_nametoindex(link)))
                conn.connect((SERVER, port, 0, socket.if_nametoindex(link)))
            return conn

        yield connect


def greet(conn):
    conn.sendall(b"x")
    assert conn.recv(1) == b"x"
    return conn


@pytest.mark.parametrize("listen", ["*:7007", "[fe80::1%cable]:7007 [fe80::1%other]:7007"])
def test_they_are_named_with_their_interface(daemon, connect, listen):
    daemon.start(listen=listen)
    conns = [greet(connect(link, 7007)) for link in LINKS]
    names = [f"[{CLIENT}%{link}]:{conn.getsockname()[1]}" for link, conn in zip(LINKS, conns, strict=True)]
    wait_for(lambda: daemon.status()["clients"] == 2, "two clients")
    assert {child["peer"] for child in daemon.status()["children"]} == set(names)
    if "%" in listen:
        assert daemon.status()["listen"] == listen.split()
    for conn in conns:
        conn.close()
    daemon.wait_idle()
    assert {re.findall("peer=(.*?) ", line)[0] for line in daemon.events("close")} == set(names)


def test_each_link_is_a_source_of_its_own(daemon, connect):
    daemon.start(listen="*:7007", max_children_per_source=1)
    for link in LINKS:
        greet(connect(link, 7007))
    for link in LINKS:
        assert receive_all(connect(link, 7007)) == b""
    (first,) = daemon.events("refuse")[:1]
    assert f"peer=[{CLIENT}%cable]:" in first
    assert daemon.status()["refused"]["per_source"] == 2
