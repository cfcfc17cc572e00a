from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from echod.common.launch import Launch

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
VALUES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("config_file", "base", "pid_file", "board_file"), TEXTS),
        **dict.fromkeys(("pid_fd", "board_fd", "ready_fd", "uid", "gid"), NUMBERS),
        "log": st.sampled_from(["syslog", "stderr"]),
        "overrides": st.lists(TEXTS).map(tuple),
        "addresses": st.lists(ADDRESSES).map(tuple),
    },
)


@given(VALUES)
def test_what_is_handed_over_arrives(values):
    launch = Launch(**values)
    words = launch.to_items()
    found = Launch.from_items(words)
    for name in Launch.fields():
        assert getattr(found, name) == getattr(launch, name) == values.get(name, Launch.fields()[name])
    assert all(isinstance(word, str) and "\0" not in word for word in words)


def test_the_words_can_be_read_in_ps():
    launch = Launch(
        config_file="/etc/echod.conf",
        ready_fd=7,
        addresses=(("*", 27978), ("::1", 7), None),
        overrides=("umask=077",),
    )
    assert launch.to_items() == [
        "config_file=/etc/echod.conf",
        "set=umask=077",
        "listen=*:27978",
        "listen=[::1]:7",
        "listen=",
        "ready_fd=7",
    ]
