"""Headers that another implementation of the PROXY protocol has written, the package proxy-protocol."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.common.config.addresses import write_address
from echod.session.proxy import length, parse
from support.wait import need_module

ADDRESSES = {socket.AF_INET: st.ip_addresses(v=4), socket.AF_INET6: st.ip_addresses(v=6)}
PORTS = st.integers(0, 65535)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("family", ADDRESSES)
@given(data=st.data())
def test_the_client_is_the_one_that_was_written(version, family, data):
    client, target = (data.draw(ADDRESSES[family]).exploded for _ in range(2))
    port, rest = data.draw(PORTS), data.draw(st.binary(max_size=20))
    header = pack(version, family, (client, port), (target, data.draw(PORTS)))
    assert length(header + rest) == len(header)
    assert named(header) == write_address((canonical(family, client), port))


@pytest.mark.parametrize("family", ADDRESSES)
@given(data=st.data())
def test_the_destination_may_be_of_the_other_family(family, data):
    (other,) = set(ADDRESSES) - {family}
    client, target = data.draw(ADDRESSES[family]).exploded, data.draw(ADDRESSES[other]).compressed
    header = pack("v1", family, (client, 7), (target, 7))
    assert named(header) == write_address((canonical(family, client), 7))


@given(tail=st.binary(max_size=20))
def test_a_local_header_names_nobody(tail):
    header = pack_local()
    assert length(header + tail) == len(header)
    assert named(header) is None


def named(header):
    """Return the client that a header names, as text."""
    client = parse(header)
    return client and write_address(client)


def canonical(family, host):
    """Return an address as the kernel writes it."""
    return socket.inet_ntop(family, socket.inet_pton(family, host))


def pack(version, family, client, target):
    """Return the header that the other implementation writes."""
    need_module("proxyprotocol")
    module = need_module(f"proxyprotocol.{version}")
    result = need_module("proxyprotocol.result")
    kind = result.ProxyResultIPv4 if family == socket.AF_INET else result.ProxyResultIPv6
    addresses = [(need_module("ipaddress").ip_address(host), port) for host, port in (client, target)]
    return getattr(module, f"ProxyProtocol{version.upper()}")().pack(kind(*addresses, protocol=socket.SOCK_STREAM))


def pack_local():
    """Return the header of a balancer that speaks for itself."""
    return (
        need_module("proxyprotocol.v2").ProxyProtocolV2().pack(need_module("proxyprotocol.result").ProxyResultLocal())
    )
