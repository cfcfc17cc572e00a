from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.common.config.addresses import pack_host, parse_address, write_address


def refused(parse, text):
    with pytest.raises(ValueError, match=r"^(is|has|names) ") as caught:
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("*:27978", ("*", 27978)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("localhost:65535", ("localhost", 65535)),
        ("[::]:7", ("::", 7)),
        ("[fe80::1%lo]:7", ("fe80::1%lo", 7)),
        ("[fe80::1%eth0.5]:7", ("fe80::1%eth0.5", 7)),
        ("[fec0::1]:7", ("fec0::1", 7)),
    ],
)
def test_an_address_is_read_and_written_as_itself(text, address):
    assert parse_address(text) == address
    assert write_address(address) == text


@pytest.mark.parametrize("text", ["*:7", ":7", "7"])
def test_a_port_alone_stands_for_all_addresses(text):
    assert parse_address(text) == ("*", 7)


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "*", "*:", "*:65536", "*:-1", "*:٣", "*:123456",
        "::1:7", "[::1]", "[::1:7", "::1]:7", "[1.2.3.4]:7",
        "[]:7", "[::g]:7", "**:7", "'host':7", "a/b/:7", "[::1\0]:7",
        "[fe80::1]:7", "[fe80::1%]:7", "[::1%]:7", "[febf::1]:7",
        "hostname\udcff:7", "bücher.example:7", "[::ffff:127.0.0.1]:7",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text):
    refused(parse_address, text)


def test_a_peer_on_an_ipv6_socket_is_written_as_the_ipv4_address_it_has():
    assert write_address(("::ffff:192.0.2.7", 51514, 0, 0)) == "192.0.2.7:51514"
    assert write_address(("2001:db8::1", 51514, 0, 0)) == "[2001:db8::1]:51514"


@given(st.one_of(st.text(), st.from_regex(r"[\[*:.%0-9a-f\]/]*", fullmatch=True)))
def test_any_text_is_an_address_or_refused(text):
    try:
        found = parse_address(text)
    except ValueError:
        return
    assert parse_address(write_address(found)) == found


def test_a_packed_host_is_what_the_kernel_compares():
    assert pack_host("127.0.0.1") == (32, 0x7F000001)
    assert pack_host("::ffff:127.0.0.1") == (32, 0x7F000001)
    assert pack_host("fe80::1%lo") == (128, int.from_bytes(socket.inet_pton(socket.AF_INET6, "fe80::1"), "big"))
