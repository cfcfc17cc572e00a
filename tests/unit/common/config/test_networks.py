from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.common.config.addresses import pack_host
from echod.common.config.networks import NetworkTable, parse_network, write_network


def refused(parse, text):
    with pytest.raises(ValueError, match=r"^(is|has|names) ") as caught:
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7/32", "192.0.2.7"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::/0", "::/0"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
    ],
)
def test_a_network_is_read_and_written(text, written):
    assert write_network(parse_network(text)) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/-1",
        "10.0.0.0/8/8",
        "10.0.0/8",
        "host",
        "fe80::1%eth0",
        "fe80::%eth0/64",
        "::\0",
        "1\udcff",
    ],
)
def test_what_is_no_network_is_refused(text):
    refused(parse_network, text)


def test_host_bits_are_refused_with_the_network_that_was_meant():
    assert "10.0.0.0/8" in refused(parse_network, "10.1.2.3/8")


@given(st.one_of(st.ip_addresses(v=4, network="0.0.0.0/0"), st.ip_addresses(v=6)), st.integers(0, 128))
def test_networks_agree_with_the_standard_library(address, length):
    network = ipaddress.ip_network((address, min(length, address.max_prefixlen)), strict=False)
    found = parse_network(str(network))
    mapped = network.version == 6 and network.network_address.ipv4_mapped is not None
    if not mapped:
        assert found == (network.max_prefixlen, int(network.network_address), network.prefixlen)
    assert parse_network(write_network(found)) == found


@given(st.one_of(st.text(), st.from_regex(r"[:.%0-9a-f/]*", fullmatch=True)))
def test_any_text_is_a_network_or_refused(text):
    try:
        found = parse_network(text)
    except ValueError:
        return
    assert parse_network(write_network(found)) == found


def table(*texts):
    return NetworkTable(map(parse_network, texts))


def found(networks, host):
    network = networks.find(*pack_host(host))
    return network and write_network(network)


def test_a_network_contains_the_addresses_of_its_family_alone():
    networks = table("192.0.2.0/24")
    assert networks.find(32, 0xC0000207)
    assert not networks.find(32, 0xC0000307)
    assert not networks.find(128, 0xC0000207)


def test_an_address_is_in_the_most_specific_of_the_networks():
    networks = table("192.0.2.0/24", "192.0.2.1", "2001:db8::/32", "0.0.0.0/0")
    hosts = ["192.0.2.1", "::ffff:192.0.2.2", "2001:db8::1", "192.0.3.1", "2001:db9::1"]
    assert [found(networks, host) for host in hosts] == [
        "192.0.2.1", "192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0", None,
    ]  # fmt: skip
    assert found(table(), "192.0.2.1") is None
    assert networks
    assert not table()
