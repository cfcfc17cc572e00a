"""The rules against an oracle: the same decision made with `ipaddress`, one network after the other."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from echod.common.config.networks import write_network
from echod.common.config.rules import ALLOW, DENY, Rules, pack_peer
from support.sockets import settings

# few addresses and networks around them, so that they meet
V4 = st.integers(0, 15).map(lambda low: ipaddress.IPv4Address(0xC0000200 + low))
V6 = st.tuples(st.integers(0, 3), st.integers(0, 3)).map(
    lambda parts: ipaddress.IPv6Address((0x20010DB8 << 96) + (parts[0] << 63) + parts[1])
)
PEERS = st.one_of(V4, V6)


def network(peer, length):
    return ipaddress.ip_network((peer, length if peer.version == 4 else 2 * length + 64), strict=False)


EVERYWHERE = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
NETWORKS = st.lists(st.one_of(st.builds(network, PEERS, st.integers(24, 32)), st.sampled_from(EVERYWHERE)), unique=True)


def words(networks):
    return ",".join(map(str, networks))


def longest(networks, peer):
    """Return the most specific network that contains an address, or None."""
    return max((each for each in networks if peer in each), key=lambda each: each.prefixlen, default=None)


def oracle(allow, deny, peer):
    """Return the decision and the network that decided."""
    allowed, denied = longest(allow, peer), longest(deny, peer)
    if denied and (not allowed or denied.prefixlen >= allowed.prefixlen):
        return DENY, denied
    return (ALLOW, allowed) if allowed or not allow else (DENY, None)


def text(network):
    """Return a network as echod writes it."""
    return str(network).removesuffix(f"/{network.max_prefixlen}")


@given(NETWORKS, NETWORKS, NETWORKS, PEERS)
def test_they_decide_as_the_oracle_does_and_name_the_network(allow, deny, proxies, peer):
    rules = Rules(settings(f"allow={words(allow)}", f"deny={words(deny)}", f"proxy_from={words(proxies)}"))
    packed = pack_peer((str(peer), 7) if peer.version == 4 else (str(peer), 7, 0, 0))
    verdict, found = rules.decide(packed)
    wanted, decided = oracle(allow, deny, peer)
    assert (verdict, found and write_network(found)) == (wanted, decided and text(decided))
    assert rules.is_allowed(packed) == (wanted == ALLOW)
    proxy = longest(proxies, peer)
    found = rules.proxy(packed)
    assert (found and write_network(found)) == (proxy and text(proxy))
    assert rules.are_none == (not allow and not deny)
