from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from echod.cli.status import processes
from echod.cli.status.processes import MOST_CHILDREN, child_lines, other_lines, read_children

module: Any = processes

SOCKETS = {"socket:[1]": "listens on [::]:27978", "socket:[5]": "connection with 192.0.2.7:51514"}
STANDARD = dict.fromkeys(range(3), "/dev/null")


def process(pid, **changed):
    values = {
        "pid": pid, "code": "S", "state": "sleeping", "session": 1, "terminal": 0,
        "command": ["python", "boot.py", "pid_file=/run/a"],
        "directory": "/", "umask": "0022", "uids": [1], "gids": [1], "groups": [1], "capabilities": {}, "limits": {},
        "environment": [], "blocked": set(), "ignored": {13}, "caught": {15, 17}, "oom": "500", "private": 200 << 10,
        "descriptors": STANDARD | {7: "socket:[5]"},
    }  # fmt: skip
    return SimpleNamespace(**values | changed)


DAEMON = process(70, is_forking=False, oom="0", descriptors=STANDARD | {3: "socket:[1]", 4: "/run/echod.pid"})


def lines(*children):
    return list(child_lines(DAEMON, list(children), {71: "192.0.2.7:51514"}, SOCKETS))


def test_a_child_in_order():
    (child,) = lines(process(71))
    assert child.ok
    assert child.what == "child 71"
    assert child.found == (
        "sleeping, has connection with 192.0.2.7:51514 for itself, oom_score_adj 500, 200.0 KiB private"
    )


def test_a_child_of_the_version_before_an_upgrade_is_its_child():
    assert lines(process(71, command=["python", "old/boot.py", "pid_file=/run/a"]))[0].ok


def test_a_signal_that_the_daemon_lets_in_at_times_is_no_difference():
    assert all(line.ok for line in lines(process(71, caught={14, 15})))


def test_whose_peer_is_not_the_connections_is_told():
    assert "serves not yet recorded" in lines(process(72))[0].found


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"code": "T", "state": "stopped by a signal"}, "stopped by a signal"),
        ({"umask": "0077"}, "differs in umask"),
        ({"uids": [0]}, "differs in uids"),
        ({"caught": {17}}, "differs in signals"),
        ({"ignored": set()}, "differs in signals"),
        ({"descriptors": STANDARD}, "has nothing for itself"),
        ({"descriptors": STANDARD | {3: "socket:[1]"}}, "has listens on"),
        ({"descriptors": STANDARD | {3: "socket:[5]", 4: "/run/echod.pid"}}, "and /run/echod.pid for itself"),
        ({"descriptors": {2: "/dev/null", 7: "socket:[5]"}}, "differs in descriptors 0 to 2"),
    ],
)
def test_what_is_not_in_order_is_told(changed, text):
    line = lines(process(71, **changed))[0]
    assert line.ok is False
    assert text in line.found


def test_what_cannot_be_told():
    assert lines(process(71, descriptors=None, private=None))[0].ok is None
    assert lines(process(71, descriptors=None, umask="0"))[0].ok is False


def test_other_programs_are_none_of_its():
    others = (["sh"], ["boot.py", "pid_file=/run/b"], ["boot.py", "--trial", "pid_file=/run/a"])
    assert lines(*(process(73 + number, command=command) for number, command in enumerate(others))) == []


def test_zombies_are_told_the_first_by_their_pids():
    assert list(other_lines({71: "S"}, 1)) == [("zombies", "none", "none", True)]
    assert list(other_lines({71: "S", 72: "Z"}, 1)) == [("zombies", "72", "none", False)]
    (line,) = other_lines(dict.fromkeys(range(100, 200), "Z"), 0)
    assert line.found.endswith(" 119 and 80 more")


def test_a_daemon_that_was_stopped_inside_fork_differs_in_no_signal_from_its_child():
    everything = set(range(1, 65)) - {9, 19}
    daemon = process(70, is_forking=True, oom="0", blocked=everything)
    assert all(line.ok for line in child_lines(daemon, [process(71)], {}, SOCKETS))
    daemon.is_forking = False
    assert not all(line.ok for line in child_lines(daemon, [process(71)], {}, SOCKETS))


@pytest.fixture
def read(monkeypatch):
    """Return the pids that were read whole, in order."""
    found = []

    def read(pid):
        found.append(pid)
        return process(pid)

    monkeypatch.setattr(module, "Process", read)
    return found


def test_few_of_ten_thousand_children_are_read_whole(read):
    states = dict.fromkeys(range(1, 10001), "S") | {5000: "T", 5001: "Z"}
    assert len(read_children(states, MOST_CHILDREN)) == len(read) == MOST_CHILDREN
    assert read[0] == 5000, "one that is stopped, for sure"
    assert read[1] == 1
    assert read[-1] > 9800, "some of all ages"
    assert 5001 not in read
    more, _ = other_lines(states, len(read))
    assert more.what == "children"
    assert more.found.startswith("9899 more, ")
    assert more.ok


@pytest.mark.usefixtures("read")
def test_all_are_read_whole_if_they_are_few_or_asked_for():
    assert len(read_children(dict.fromkeys(range(MOST_CHILDREN), "S"), MOST_CHILDREN)) == MOST_CHILDREN
    assert len(read_children(dict.fromkeys(range(MOST_CHILDREN + 1), "S"), 10**6)) == MOST_CHILDREN + 1
    assert read_children({}, MOST_CHILDREN) == []


def test_more_stopped_children_than_are_read_are_not_in_order(read):
    states = dict.fromkeys(range(1, 300), "T")
    assert len(read_children(states, MOST_CHILDREN)) == MOST_CHILDREN == len(read)
    assert next(other_lines(states, len(read))).ok is False


def test_one_file_is_read_for_each_child(monkeypatch):
    """A daemon may have ten thousand of them."""
    opened = []

    def read(pid, name):
        opened.append(name)
        return f"{pid} (a) S 70"

    monkeypatch.setattr("echod.cli.proc.read", read)
    assert processes.states_of(list(range(1000))) == dict.fromkeys(range(1000), "S")
    assert opened == ["stat"] * 1000
