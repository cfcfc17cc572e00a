from __future__ import annotations

from types import SimpleNamespace

import pytest

from echod.cli.status.examine import child_lines

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


DAEMON = process(70, oom="0", descriptors=STANDARD | {3: "socket:[1]", 4: "/run/echod.pid"})


def lines(*children):
    return list(child_lines(DAEMON, list(children), {71: "192.0.2.7:51514"}, SOCKETS))


def test_a_child_in_order():
    child, zombies = lines(process(71))
    assert child.ok
    assert child.what == "child 71"
    assert child.found == (
        "sleeping, has connection with 192.0.2.7:51514 for itself, oom_score_adj 500, 200.0 KiB private"
    )
    assert zombies == ("zombies", "none", "none", True)


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


def test_zombies_are_told_and_other_programs_are_none_of_its():
    zombie = process(72, code="Z", command=[""])
    others = (["sh"], ["boot.py", "pid_file=/run/b"], ["boot.py", "--trial", "pid_file=/run/a"])
    (line,) = lines(zombie, *(process(73 + number, command=command) for number, command in enumerate(others)))
    assert line == ("zombies", "72", "none", False)
