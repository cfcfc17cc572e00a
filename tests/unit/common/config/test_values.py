from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from echod.common.config import values
from echod.common.config.values import parse_address, parse_network, write_address, write_network


def refused(parse, text):
    with pytest.raises(ValueError, match=r"^(is|has|names) ") as caught:
        parse(text)
    return str(caught.value)


NUMBER = values.integer(1, 65536)


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("007", 7), ("65536", 65536)])
def test_a_whole_number_is_read(text, value):
    assert NUMBER.parse(text) == value


@pytest.mark.parametrize("text", ["", "0", "65537", "-1", "+1", "1.0", "1e3", "0x10", "1_000", "٣", "²", "9" * 5000])
def test_what_is_no_number_in_range_is_refused(text):
    refused(NUMBER.parse, text)


def test_a_number_says_its_range():
    assert NUMBER.allowed == "a whole number from 1 to 65536"


TIME = values.duration(0)
ADDRESSES = values.many(parse_address, write_address, "addresses", least=1)
NETWORKS = values.many(parse_network, write_network, "networks")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0),
        ("250ms", 0.25),
        ("30s", 30),
        ("30 s", 30),
        ("1.5min", 90),
        ("1h", 3600),
        (".5s", 0.5),
        ("8760h", 31536000),
    ],
)
def test_a_duration_is_read(text, seconds):
    assert TIME.parse(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "10",
        "10S",
        "10 sec",
        "-1s",
        "1e3s",
        ".s",
        "1..5s",
        "infs",
        "nans",
        "٣s",
        "8761h",
        "9" * 400 + "h",
        "1h30min",
    ],
)
def test_what_is_no_duration_is_refused(text):
    refused(TIME.parse, text)


def test_never_is_a_duration_where_it_makes_sense():
    assert TIME.parse("never") is None
    refused(values.duration(0, never=False).parse, "never")
    assert "never" not in values.duration(0, never=False).allowed


def test_a_duration_below_the_least_is_too_short():
    assert refused(values.duration(1).parse, "999ms") == "is too short"
    assert values.duration(1).allowed.endswith("at least 1s")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "never"), (0.0, "0s"), (0.25, "250ms"), (60.0, "1min"), (90.0, "90s"), (3600.0, "1h"), (5400.0, "90min")],
)
def test_a_duration_is_written_in_the_largest_unit_that_holds_it_whole(seconds, text):
    assert values.write_duration(seconds) == text


@given(st.from_regex(r"[0-9]{0,4}(\.[0-9]{0,6})? ?(ms|s|min|h)", fullmatch=True))
@example("0.0004s")
@example("1.5ms")
@example("0.1h")
def test_a_duration_that_is_read_is_written_as_itself(text):
    try:
        seconds = TIME.parse(text)
    except ValueError:
        return
    assert TIME.parse(values.write_duration(seconds)) == seconds


@pytest.mark.parametrize(("text", "mask"), [("0", 0), ("22", 0o22), ("022", 0o22), ("0777", 0o777)])
def test_a_umask_is_octal(text, mask):
    assert values.parse_umask(text) == mask


@pytest.mark.parametrize("text", ["", "8", "0o22", "1000", "00022", "-1", "0x7", "2 2", "٢"])
def test_what_is_no_umask_is_refused(text):
    refused(values.parse_umask, text)


@pytest.mark.parametrize("text", ["nobody", "65534", "www-data", "DOM\\user"])
def test_a_name_is_read(text):
    assert values.parse_name(text) == text


@pytest.mark.parametrize("text", ["", "two words", "a:b", "a,b", "../a", "a\tb"])
def test_what_is_no_name_is_refused(text):
    refused(values.parse_name, text)


def test_yes_and_no_have_their_synonyms():
    assert [values.parse_bool(word) for word in ("yes", "true", "on", "no", "false", "off")] == [True] * 3 + [False] * 3
    for word in ("", "Yes", "1", "y"):
        refused(values.parse_bool, word)


def test_a_choice_is_one_of_its_words():
    kind = values.choice("queue", "refuse", "other")
    assert kind.parse("refuse") == "refuse"
    assert kind.allowed == "queue, refuse or other"
    refused(kind.parse, "Queue")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("*:27978", ("*", 27978)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("localhost:65535", ("localhost", 65535)),
        ("[::]:7", ("::", 7)),
        ("[fe80::1%lo]:7", ("fe80::1%lo", 7)),
    ],
)
def test_an_address_is_read_and_written_as_itself(text, address):
    assert parse_address(text) == address
    assert write_address(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "7", ":7", "*", "*:", "*:65536", "*:-1", "*:٣", "*:123456",
        "::1:7", "[::1]", "[::1:7", "::1]:7", "[1.2.3.4]:7",
        "[]:7", "[::g]:7", "**:7", "'host':7", "a/b/:7", "[::1\0]:7",
        "hostname\udcff:7", "bücher.example:7", "[::ffff:127.0.0.1]:7",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text):
    refused(parse_address, text)


def test_a_peer_on_an_ipv6_socket_is_written_as_the_ipv4_address_it_has():
    assert write_address(("::ffff:192.0.2.7", 51514, 0, 0)) == "192.0.2.7:51514"
    assert write_address(("2001:db8::1", 51514, 0, 0)) == "[2001:db8::1]:51514"


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


@given(st.one_of(st.text(), st.from_regex(r"[\[*:.%0-9a-f\]/]*", fullmatch=True)))
def test_any_text_is_an_address_or_refused(text):
    for kind in (ADDRESSES, NETWORKS):
        try:
            found = kind.parse(text)
        except ValueError:
            continue
        assert kind.parse(kind.write(found)) == found


def test_a_list_is_split_at_commas_and_blanks():
    assert NETWORKS.write(NETWORKS.parse(" 10.0.0.0/8,, 192.0.2.1\t::1 ")) == "10.0.0.0/8, 192.0.2.1, ::1"
    assert NETWORKS.parse("") == ()


def test_a_list_refuses_repetition_and_names_the_item_that_is_wrong():
    assert refused(ADDRESSES.parse, "") == "is empty"
    assert refused(ADDRESSES.parse, "*:7, *:007") == "names one of them twice"
    assert "'*:x'" in refused(ADDRESSES.parse, "*:7, *:x")


def test_a_packed_host_is_what_the_kernel_compares():
    assert values.pack_host("127.0.0.1") == (32, 0x7F000001)
    assert values.pack_host("::ffff:127.0.0.1") == (32, 0x7F000001)
    assert values.pack_host("fe80::1%lo") == (128, int.from_bytes(socket.inet_pton(socket.AF_INET6, "fe80::1"), "big"))
