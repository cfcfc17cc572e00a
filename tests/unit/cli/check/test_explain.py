from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.cli.check import explain
from echod.common.config.rules import Rules, pack_peer
from echod.common.errors import USAGE, EchodError
from echod.server.admission import Admission, source
from support.sockets import settings

# few addresses and networks around them, so that they meet
V4 = st.integers(0, 15).map(lambda low: ipaddress.IPv4Address(0xC0000200 + low))
V6 = st.tuples(st.integers(0, 3), st.integers(0, 3)).map(
    lambda parts: ipaddress.IPv6Address((0x20010DB8 << 96) + (parts[0] << 63) + parts[1])
)
PEERS = st.one_of(V4, V6)


def network(peer, length):
    return str(ipaddress.ip_network((peer, length if peer.version == 4 else 2 * length + 64), strict=False))


NETWORKS = st.lists(
    st.one_of(st.builds(network, PEERS, st.integers(24, 32)), st.sampled_from(["0.0.0.0/0", "::/0"])), unique=True
)


def accepted(peer, port=1):
    """Return a peer as accept(2) gives it."""
    if peer.version == 4:
        return (str(peer), port)
    return (str(peer), port, 0, 0)


@given(NETWORKS, NETWORKS, NETWORKS, st.integers(0, 3), st.lists(PEERS, max_size=6), PEERS)
def test_it_decides_as_the_daemon_does(allow, deny, proxies, most, clients, peer):
    config = settings(
        f"allow={','.join(allow)}",
        f"deny={','.join(deny)}",
        f"proxy_from={','.join(proxies)}",
        f"max_children_per_source={most}",
    )
    admission = Admission(config, map(accepted, clients))
    counted = [client for client in clients if not Rules(config).proxy(pack_peer(accepted(client)))]
    same = sum(explain.source(client) == explain.source(peer) for client in counted)
    wanted, verdict = admission.refusal(pack_peer(accepted(peer))), explain.verdict(config, peer, 0, same, 9)
    assert verdict == (f"refused: {wanted}" if wanted else "admitted") or verdict.startswith(
        "decided for the client that"
    )


@given(PEERS, PEERS)
def test_sources_are_the_same_for_the_daemon(one, other):
    same = source(pack_peer(accepted(one))) == source(pack_peer(accepted(other)))
    assert (explain.source(one) == explain.source(other)) is same


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:51514", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("[2001:db8::1]:7", "2001:db8::1"),
        ("fe80::1%lo", "fe80::1%lo"),
        ("[fe80::1%lo]:7", "fe80::1%lo"),
    ],
)
def test_an_address_is_read(text, peer):
    assert str(explain.parse_peer(text)) == peer


@pytest.mark.parametrize("text", ["", "x", "192.0.2.0/24", "1.2.3", "::1::", "[", "example.net:7", "*"])
def test_what_is_no_address_is_a_usage_error(text):
    with pytest.raises(EchodError, match="is not a numeric address; allowed: ") as caught:
        explain.parse_peer(text)
    assert caught.value.code == USAGE


def test_link_local_sources_are_told_apart_by_their_interface():
    lo = socket.if_nametoindex("lo")
    name, number, other = (explain.parse_peer(f"fe80::1%{scope}") for scope in ("lo", lo, lo + 1000))
    assert explain.source(name) == explain.source(number) == ("fe80::/64", lo)
    assert explain.source(other) != explain.source(name)


def shown(subject, peer, *options, state=None, text="[echod]\n"):
    found = subject(*options, text=text)
    found.state = state or {}
    return dict(line.split(maxsplit=1) for line in explain.lines(found, peer))


def test_the_rule_is_named_with_its_place(subject, public):
    text = "[echod]\nallow = 192.0.2.0/24, 10.0.0.0/8\ndeny = 10.1.0.0/16 10.0.0.0/8\n"
    where = public / "echod.conf"
    assert shown(subject, "192.0.2.1", text=text)["rule"] == f"allow 192.0.2.0/24 ({where}:2)"
    assert shown(subject, "10.1.2.3", text=text)["rule"] == f"deny 10.1.0.0/16 ({where}:3)"
    assert shown(subject, "10.2.2.3", text=text)["rule"] == f"deny 10.0.0.0/8 ({where}:3)"  # of two alike, deny
    assert shown(subject, "::1", text=text)["rule"] == f"none matches, and allow is set ({where}:2)"
    assert shown(subject, "::1")["rule"] == "none matches, and allow is not set"


STATE = {
    "pid": 1,
    "clients": 2,
    "children": [{"peer": "192.0.2.7:1"}, {"peer": "[2001:db8::1]:1"}],
}


@pytest.mark.parametrize(
    ("peer", "options", "source", "verdict"),
    [
        ("192.0.2.7", (), "no limit (max_children_per_source, default)", "admitted"),
        ("192.0.2.7", ("max_children_per_source=1",), "1 of 1 from 192.0.2.7", "refused: per_source"),
        ("192.0.2.8", ("max_children_per_source=1",), "0 of 1 from 192.0.2.8", "admitted"),
        ("2001:db8::2", ("max_children_per_source=1",), "1 of 1 from 2001:db8::/64", "refused: per_source"),
        (
            "192.0.2.7",
            ("max_children=2",),
            "no limit",
            "waits in the accept queue until another client has disconnected",
        ),
        ("192.0.2.7", ("max_children=2", "over_limit=refuse"), "no limit", "refused: over_limit"),
        ("192.0.2.7", ("max_children=2", "deny=192.0.2.7"), "no limit", "refused: access"),
        (
            "192.0.2.7",
            ("max_children_per_source=1", "proxy_from=192.0.2.0/24", "allow=10.0.0.0/8"),
            "not counted, behind a proxy",
            "decided for the client that the header names; refused: access if it names none (UNKNOWN, LOCAL)",
        ),
    ],
)
def test_the_verdict(subject, peer, options, source, verdict):
    found = shown(subject, peer, *options, state=STATE)
    assert found["source"].startswith(source)
    assert found["verdict"] == verdict


def test_a_client_behind_a_proxy_may_be_counted_and_a_crashed_child_is_not(subject):
    state = {"pid": 1, "clients": 2, "children": [{"peer": "192.0.2.7:1"}, {"peer": "/usr/lib/echod/session.py:7"}]}
    found = shown(subject, "192.0.2.7", "max_children_per_source=3", "proxy_from=10.0.0.1", state=state)
    assert found["source"].startswith("at most 1 of 3 from 192.0.2.7 ")


def test_the_limits_of_a_daemon_that_does_not_run(subject):
    assert shown(subject, "::1")["clients"] == "0 of 256 (max_children, default)"
    assert shown(subject, "::1", state=STATE)["clients"] == "2 of 256 (max_children, default)"


def test_a_limit_that_a_reload_has_not_applied_yet_is_the_running_daemons(subject):
    state = STATE | {"clients": 300, "max_children": 310}
    found = shown(subject, "::1", state=state)
    assert found["clients"] == "300 of 310 (max_children, default; 256 after a reload)"
    assert found["verdict"] == "admitted"
    assert shown(subject, "::1", state=state | {"clients": 310})["verdict"].startswith("waits in the accept queue")
