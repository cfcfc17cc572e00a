"""The network between client and daemon loses, stops, shrinks and changes: every byte comes back nevertheless."""

from __future__ import annotations

import pytest

from support.daemon import Echod
from support.network import HERE, THERE, Hosts
from support.stream import Stream


@pytest.fixture
def hosts():
    with Hosts() as hosts:
        yield hosts


@pytest.fixture
def echod(public, hosts):
    """Return a daemon that serves at HERE; no limit of its own ends a client."""
    daemon = Echod(public, prefix=hosts.prefix, listen=f"{HERE}:0", idle_timeout="never", keepalive="60s")
    yield daemon.start()
    daemon.cleanup()


@pytest.fixture
def stream(echod, hosts):
    """Return a stream of bytes through the daemon, under way; all of them must have come back at the end."""
    one = Stream(hosts.connect(echod.port))
    one.goes_on()
    yield one
    total = one.end()
    done = echod.wait_idle()
    assert (done["bytes_in"], done["bytes_out"]) == (total, total)
    assert [line.split()[3] for line in echod.events("close")] == ["reason=eof"]


def test_packets_get_lost_at_random(echod, hosts):
    port = echod.port
    for name in (hosts.here, hosts.there):
        hosts.drop(name, "meta l4proto tcp numgen random mod 100 < 5", hooks=["input"])
    sizes = [0, 1, 1000, *[2_000_000] * 5]
    streams = [Stream(hosts.connect(port), most=size) for size in sizes]
    assert sum(one.end() for one in streams) == sum(sizes)
    done = echod.wait_idle()
    assert (done["accepted"], done["bytes_in"], done["bytes_out"]) == (len(sizes), sum(sizes), sum(sizes))


@pytest.mark.parametrize("side", ["here", "there"])
def test_the_link_goes_down_and_up(hosts, stream, side):
    name = getattr(hosts, side)
    for _ in range(2):
        hosts.cable(name, "down")
        stream.stands_still()
        hosts.cable(name, "up")
        stream.goes_on()


@pytest.mark.parametrize(("side", "address"), [("here", HERE), ("there", THERE)], ids=["here", "there"])
def test_an_address_is_removed_and_added_back(hosts, stream, side, address):
    name = getattr(hosts, side)
    hosts.ip(name, "address", "delete", f"{address}/24", "dev", "cable")
    stream.stands_still()
    hosts.ip(name, "address", "add", f"{address}/24", "dev", "cable")
    stream.goes_on()


def test_the_mtu_changes(hosts, stream):
    for mtu in ("600", "9000", "1280", "1500"):
        for name in (hosts.here, hosts.there):
            hosts.cable(name, "mtu", mtu)
        stream.goes_on()
