from __future__ import annotations

from types import SimpleNamespace

import pytest

from echod.cli.proc import CORE, FILES, PROCESSES, UNKNOWN
from echod.cli.status.examine import DaemonCheck, Line, terminal
from echod.cli.status.expected import Expected
from echod.common.launch import Launch
from echod.common.signals_table import RESERVED

ALL = set(range(1, 65))


def process(**changed):
    """Return a daemon's process, in order but for what is changed."""
    links = {
        0: "/dev/null", 1: "/dev/null", 2: "/dev/null", 3: "socket:[1]", 4: "/run/echod.pid", 5: "/run/board",
        6: "pipe:[9]", 7: "pipe:[9]", 8: "/proc/70/oom_score_adj", 9: "/var/log/echod.log", 10: "socket:[2]",
    }  # fmt: skip
    values = {
        "pid": 70, "code": "S", "state": "sleeping", "parent": 1, "session": 999999999, "terminal": 0, "threads": "1",
        "directory": "/", "umask": "0022", "environment": ["LANG", "LISTEN_PID"], "descriptors": links,
        "uids": [65534] * 4, "gids": [65534] * 4, "groups": [65534],
        "capabilities": {"CapEff": "0" * 16}, "blocked": set(), "is_forking": False, "caught": {1, 2, 3, 10, 12, 15},
        "ignored": ALL - {1, 2, 3, 15},
        "limits": {CORE: "0", PROCESSES: "1000", FILES: "1024"}, "private": 3 << 20, "shared": 6 << 20,
    }  # fmt: skip
    return SimpleNamespace(**values | changed)


def lines(one, *, log="syslog", config=True, uid=65534):
    """Return the lines, by what they tell of."""
    launch = Launch(log=log, uid=uid, gid=uid)
    files = {"/run/echod.pid": "pid file", "/run/board": "scoreboard"}
    sockets = {"socket:[1]": "listens on [::]:27978", "socket:[2]": "unix datagram socket"}
    sockets["socket:[3]"] = "connection with 192.0.2.7:1"
    wanted = Expected(directory="/", umask="0022", log="/var/log/echod.log", max_children=256) if config else None
    return {line.what: line for line in DaemonCheck(one, launch, wanted, sockets, files).lines()}


def test_a_daemon_in_order():
    found = lines(process())
    assert [line for line in found.values() if not line.ok] == []
    assert found["descriptor 3"].found == "listens on [::]:27978"
    assert found["descriptor 4"].found == "pid file: /run/echod.pid"
    assert found["descriptor 9"].found == "log: /var/log/echod.log"
    assert found["user"].found == "nobody"
    assert found["memory"].found == "3.0 MiB private, 6.0 MiB shared"


@pytest.mark.parametrize(
    ("changed", "what", "text"),
    [
        ({"code": "T", "state": "stopped by a signal"}, "state", "(SIGSTOP); SIGCONT lets it go on"),
        ({"code": "Z", "state": "zombie"}, "state", "zombie"),
        ({"parent": 999999999}, "parent", "999999999"),
        ({"session": 70}, "session", "70, whose leader"),
        ({"session": 1}, "session", "1, whose leader is there"),
        ({"terminal": 0x8803}, "terminal", "136:3"),
        ({"threads": "2"}, "threads", "2"),
        ({"directory": "/root"}, "directory", "/root"),
        ({"umask": "0000"}, "umask", "0000"),
        ({"environment": ["LANG", "SSH_AUTH_SOCK"]}, "environment", "LANG SSH_AUTH_SOCK"),
        ({"descriptors": {0: "/dev/null", 1: "/dev/pts/1"}}, "descriptor 1", "/dev/pts/1"),
        ({"descriptors": {}}, "descriptor 2", "closed"),
        ({"descriptors": {3: "/etc/shadow"}}, "descriptor 3", "/etc/shadow"),
        ({"descriptors": {3: "/run/echod.pid (deleted)"}}, "descriptor 3", "deleted"),
        ({"descriptors": {3: "socket:[3]"}}, "descriptor 3", "connection with 192.0.2.7:1"),
        ({"descriptors": {3: "pipe:[7]"}}, "descriptor 3", "pipe, one end"),
        ({"uids": [65534, 65534, 0, 65534]}, "user", "root, nobody"),
        ({"gids": [0, 65534, 65534, 65534]}, "group", "0, 65534"),
        ({"groups": [0, 65534]}, "groups", "0, 65534"),
        ({"capabilities": {"CapEff": "0400"}}, "capabilities", "CapEff 0400"),
        ({"blocked": {15}}, "blocked", "TERM"),
        ({"caught": {1, 2, 3, 10, 12}}, "handled", "HUP INT QUIT USR1 USR2"),
        ({"ignored": ALL - {13}}, "ended by", "PIPE"),
        ({"limits": {CORE: "unlimited"}}, "core dumps", "unlimited"),
        ({"limits": {PROCESSES: "256"}}, "processes", "at most 256"),
        ({"limits": {FILES: "12"}}, "open files", "at most 12"),
        ({"private": 17 << 20}, "memory", "17.0 MiB private"),
    ],
)  # fmt: skip
def test_what_is_not_in_order_is_told(changed, what, text):
    line = lines(process(**changed))[what]
    assert line.ok is False
    assert text in line.found


def test_in_the_foreground_much_is_its_callers():
    links = {0: "/dev/pts/1", 1: "pipe:[7]", 2: "socket:[9]"}
    changed = {"parent": 7, "session": 1, "terminal": 5, "descriptors": links, "capabilities": {"CapEff": "0400"}}
    found = lines(process(**changed, environment=["NOTIFY_SOCKET"]), log="stderr")
    assert [line for line in found.values() if not line.ok] == []


def test_who_started_it_without_being_root_is_who_it_is():
    found = lines(process(uids=[1000] * 4, gids=[1000] * 4, groups=[27, 1000]), uid=-1)
    assert all(found[what].ok for what in ("user", "group", "groups", "capabilities"))
    assert not lines(process(uids=[1000, 0, 0, 0]), uid=-1)["user"].ok


def test_what_cannot_be_told():
    known = {"directory": UNKNOWN, "environment": [UNKNOWN], "descriptors": None, "private": None}
    found = lines(process(**known, limits={}), config=False)
    assert {what for what, line in found.items() if line.ok is None} == {
        "directory", "umask", "environment", "descriptors", "core dumps", "memory",
    }  # fmt: skip
    assert not [line for line in found.values() if line.ok is False]


def test_a_terminals_number():
    assert (terminal(0), terminal(0x8803)) == ("none", "136:3")
    assert Line("a", "b", "c", True).ok


def test_signals_that_the_c_library_keeps_end_it_and_are_named():
    found = lines(process(ignored=ALL - {1, 2, 3, 15, *RESERVED}))["ended by"]
    assert found.ok
    assert found.found.split() == [str(number) for number in RESERVED]
    assert not lines(process(ignored=ALL - {1, 2, 3, 15, *RESERVED, RESERVED.stop}))["ended by"].ok


def test_signals_that_fork_blocks_for_a_moment_are_no_fault():
    found = lines(process(code="T", state="stopped by a signal", blocked=ALL - {9, 19}, is_forking=True))
    assert found["blocked"].ok
    assert "fork(3)" in found["blocked"].found
    assert not found["state"].ok


def test_a_file_whose_name_is_unknown_may_be_the_log():
    found = lines(process(descriptors={4: "/run/echod.pid", 5: "/var/log/x", 6: "socket:[99]"}), config=False)
    assert found["descriptor 4"].ok
    assert found["descriptor 5"].ok is None
    assert found["descriptor 6"].ok is None, "the tables may not be for this user"
