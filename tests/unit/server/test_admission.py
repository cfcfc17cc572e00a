from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.common.config.rules import pack_peer
from echod.common.reasons import NOT_ALLOWED, PER_SOURCE
from echod.server.admission import Admission
from support.sockets import settings


def rules(*overrides):
    return Admission(settings(*overrides))


def peer(host):
    """Return a client's address as numbers; the scope of a link-local one is a separate number."""
    return pack_peer(address(host))


def address(host):
    """Return an address in the format of accept(2)."""
    host, _, scope = host.partition("%")
    return (host, 7, 0, int(scope or 0)) if ":" in host else (host, 7)


def admitted(admission, *hosts):
    return [not admission.refusal(peer(host)) for host in hosts]


def test_without_rules_everybody_comes_in():
    assert admitted(rules(), "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "fe80::1%1") == [True] * 4


def test_who_is_denied_is_rejected_and_all_others_come_in():
    admission = rules("deny=192.0.2.0/24 2001:db8::/32")
    assert admission.refusal(peer("192.0.2.1")) == NOT_ALLOWED
    assert admitted(admission, "192.0.2.1", "192.0.3.1", "2001:db8::1", "2001:db9::1") == [False, True, False, True]


def test_with_allow_alone_all_others_are_rejected():
    admission = rules("allow=127.0.0.1")
    assert admitted(admission, "127.0.0.1", "127.0.0.2", "::1") == [True, False, False]


def test_the_most_specific_network_decides_whatever_the_order():
    admission = rules("allow=10.0.0.0/8 10.1.2.3", "deny=0.0.0.0/0 10.1.0.0/16")
    assert admitted(admission, "10.2.0.1", "10.1.0.1", "10.1.2.3", "11.0.0.1") == [True, False, True, False]


def test_of_two_alike_deny_decides():
    assert admitted(rules("allow=10.0.0.0/8 192.0.2.1", "deny=10.0.0.0/8"), "10.0.0.1", "192.0.2.1") == [False, True]


def test_a_network_of_one_family_says_nothing_about_the_other():
    assert admitted(rules("deny=::/0"), "192.0.2.1", "2001:db8::1", "::1") == [True, False, False]
    assert admitted(rules("deny=0.0.0.0/0"), "192.0.2.1", "2001:db8::1") == [False, True]


def test_an_ipv4_mapped_peer_is_the_ipv4_address_it_carries():
    for text in ("192.0.2.0/24", "::ffff:192.0.2.0/120"):
        admission = rules(f"deny={text}")
        assert admitted(admission, "::ffff:192.0.2.1", "192.0.2.1", "192.0.3.1") == [False, False, True]


def test_the_scope_of_a_link_local_peer_does_not_matter():
    assert admitted(rules("deny=fe80::/10"), "fe80::1%2", "fe80::1") == [False, False]


def test_of_a_load_balancer_its_child_decides_and_it_is_not_counted():
    admission = rules("proxy_from=10.0.0.0/8", "allow=192.0.2.0/24", "max_children_per_source=1")
    assert [bool(admission._rules.proxy(peer(host))) for host in ("10.0.0.1", "::ffff:10.0.0.1", "192.0.2.1")] == [
        True,
        True,
        False,
    ]
    for _ in range(3):
        admission.enter(peer("10.0.0.1"))
        assert admission.refusal(peer("10.0.0.1")) == ""
    assert admission.counts == {}
    assert not admission._rules.is_allowed(peer("10.0.0.1"))
    assert admission.refusal(peer("198.51.100.1")) == NOT_ALLOWED
    admission.enter(peer("192.0.2.1"))
    assert admission.refusal(peer("192.0.2.2")) == ""
    assert admission.refusal(peer("192.0.2.1")) == PER_SOURCE
    admission.leave(peer("10.0.0.1"))
    assert not rules("allow=10.0.0.1")._rules.proxy(peer("10.0.0.1"))


NETWORKS = st.lists(
    st.one_of(
        st.tuples(st.ip_addresses(v=4, network="10.0.0.0/28"), st.sampled_from([0, 8, 28, 30, 31, 32])),
        st.tuples(st.ip_addresses(v=6, network="2001:db8::/124"), st.sampled_from([0, 32, 124, 126, 127, 128])),
    ),
    max_size=5,
).map(lambda pairs: sorted({ipaddress.ip_network(pair, strict=False) for pair in pairs}, key=str))
HOSTS = st.one_of(st.ip_addresses(v=4, network="10.0.0.0/28"), st.ip_addresses(v=6, network="2001:db8::/124"))


@given(NETWORKS, NETWORKS, HOSTS)
def test_the_verdict_is_that_of_the_rule_in_words(allow, deny, host):
    matching = [(network.prefixlen, False) for network in deny if host in network]
    matching += [(network.prefixlen, True) for network in allow if host in network]
    longest = max((prefix for prefix, _ in matching), default=0)
    wanted = all(verdict for prefix, verdict in matching if prefix == longest) if matching else not allow
    admission = rules(f"allow={' '.join(map(str, allow))}", f"deny={' '.join(map(str, deny))}")
    assert admitted(admission, str(host)) == [wanted]


def test_one_source_has_so_many_clients_and_no_more():
    admission = rules("max_children_per_source=2")
    admission.enter(peer("192.0.2.1"))
    assert not admission.refusal(peer("192.0.2.1"))
    admission.enter(peer("192.0.2.1"))
    assert admission.refusal(peer("192.0.2.1")) == PER_SOURCE
    assert not admission.refusal(peer("192.0.2.2"))
    admission.leave(peer("192.0.2.1"))
    assert not admission.refusal(peer("192.0.2.1"))


def test_zero_is_no_limit():
    admission = rules("max_children_per_source=0")
    for _ in range(100):
        admission.enter(peer("192.0.2.1"))
    assert not admission.refusal(peer("192.0.2.1"))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%1", "fe80::2%1", True),
        ("fe80::1%1", "fe80::1%2", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("0.0.0.1", "::1", False),
    ],
)
def test_a_source_is_an_ipv4_address_or_an_ipv6_64(one, other, same):
    admission = rules("max_children_per_source=1")
    admission.enter(peer(one))
    assert (admission.refusal(peer(other)) == PER_SOURCE) == same


def test_who_is_denied_is_told_so_even_when_over_the_limit():
    admission = rules("max_children_per_source=1", "deny=192.0.2.1")
    admission.enter(peer("192.0.2.1"))
    assert admission.refusal(peer("192.0.2.1")) == NOT_ALLOWED


def test_counts_go_back_to_nothing():
    admission = rules("max_children_per_source=9")
    hosts = ["192.0.2.1", "192.0.2.1", "2001:db8::1", "2001:db8::2", "::ffff:192.0.2.1"]
    for host in hosts:
        admission.enter(peer(host))
    assert sorted(admission.counts.values()) == [2, 3]
    for host in reversed(hosts):
        admission.leave(peer(host))
    assert admission.counts == {}


def test_new_rules_count_the_clients_there_are():
    after = Admission(settings("max_children_per_source=2"), map(address, ["192.0.2.1", "192.0.2.1", "192.0.2.2"]))
    assert after.refusal(peer("192.0.2.1")) == PER_SOURCE
    assert not after.refusal(peer("192.0.2.2"))


def test_with_neither_rules_nor_a_limit_it_is_open():
    assert rules().open
    for text in ("allow=::1", "deny=::1", "max_children_per_source=1"):
        assert not rules(text).open


def test_who_was_not_counted_in_can_be_counted_out():
    admission = rules("max_children_per_source=1")  # by a reload: the clients of before came without a limit
    admission.leave(peer("192.0.2.1"))
    assert admission.counts == {}
