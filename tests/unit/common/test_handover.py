from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.common.handover import Handover

TEXTS = st.text(st.characters(exclude_characters="\0"))  # what execve passes
NUMBERS = st.integers(0, 2**31 - 1)
ADDRESSES = st.one_of(
    st.none(),
    st.tuples(
        st.one_of(
            st.just("*"),
            st.just("localhost"),
            st.ip_addresses(v=4).map(str),
            st.ip_addresses(v=6, network="2001:db8::/32").map(str),
        ),
        st.integers(0, 65535),
    ),
)
HANDOVERS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("config_file", "base", "pid_file", "board_file"), TEXTS),
        **dict.fromkeys(("pid_fd", "board_fd", "ready_fd", "uid", "gid"), NUMBERS),
        "log": st.sampled_from(["syslog", "stderr"]),
        "overrides": st.lists(TEXTS),
        "addresses": st.lists(ADDRESSES),
    },
)


@given(HANDOVERS)
def test_what_is_handed_over_arrives(values):
    handover = Handover()
    vars(handover).update(values)
    words = handover.to_words()
    assert vars(Handover.from_words(words)) == vars(handover)
    assert all(isinstance(word, str) and "\0" not in word for word in words)


def test_what_is_not_given_needs_no_word():
    assert Handover().to_words() == ["log=syslog"]
    assert vars(Handover.from_words([])) == vars(Handover())


def test_the_words_can_be_read_in_ps():
    handover = Handover()
    handover.config_file, handover.ready_fd = "/etc/echod.conf", 7
    handover.addresses, handover.overrides = [("*", 27978), ("::1", 7), None], ["umask=077"]
    assert handover.to_words() == [
        "config_file=/etc/echod.conf",
        "log=syslog",
        "set=umask=077",
        "listen=*:27978",
        "listen=[::1]:7",
        "listen=",
        "ready_fd=7",
    ]


CHILDREN = st.lists(
    st.tuples(
        NUMBERS,
        NUMBERS,
        st.sampled_from([0, 1]),
        st.sampled_from([("192.0.2.7", 7), ("fe80::1", 7, 0, 3), ("::ffff:192.0.2.7", 1, 0, 0)]),
    )
)
LINES = st.text(st.characters(codec="utf-8", exclude_characters="\0\n"))


@given(CHILDREN, st.lists(LINES), NUMBERS)
def test_what_may_be_long_arrives_by_a_file(children, settings, lost):
    handover = Handover()
    handover.state_fd = os.memfd_create("state")
    handover.sockets, handover.oom_fd = [3, 9], 8
    for again in (1, 0):  # it is written anew, and may be shorter then
        handover.version, handover.lost, handover.again = "0.1", lost, again
        handover.children, handover.settings = children * (1 + again), settings * (1 + again)
        handover.write_state()
        words = handover.to_words()
        assert not [word for word in words if word.startswith(("child", "setting"))]
        read = Handover.from_words(words)
        assert read.children == []  # whoever looks at a command line has not that file
        read.read_state()
        assert vars(read) == vars(handover)
    os.close(handover.state_fd)


def test_a_word_that_is_not_known_is_refused():
    with pytest.raises(AttributeError):
        Handover.from_words(["--trial"])
