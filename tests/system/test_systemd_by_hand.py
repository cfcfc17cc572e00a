"""A daemon that was started by hand, and the units: no command of systemd takes anything from it."""

from __future__ import annotations

import pytest

from support.systemd_box import UNITS, EchodBox
from support.wait import wait_for

UNIT_FILES = [
    UNITS / name for name in ("echod.service", "echod.socket", "echod-metrics.service", "echod-metrics.timer")
]
BY_HAND = "echod -o listen=127.0.0.1:4021"
FILES = "stat -c '%n %i %u:%g' /run/echod/*"


@pytest.fixture
def box(tmp_path):
    """Yield a box with all units, and with a directory for the metrics."""
    with EchodBox(tmp_path, *UNIT_FILES) as box:
        box.run("mkdir -p /var/lib/prometheus/node-exporter")
        yield box


def started_by_hand(box):
    """Start a daemon and return what it has: its pid, and the owners of its files."""
    box.run(f"{BY_HAND} start")
    return box.status()["pid"], box.run(FILES)


def has_all(box, before):
    """Return True if the daemon that was started by hand has what it had, and serves."""
    return (box.status()["pid"], box.run(FILES)) == before and box.echo("hello", 4021) == "hello"


@pytest.mark.parametrize(
    "commands",
    [
        "start echod",
        "restart echod",
        "stop echod",
        "kill echod",
        "reset-failed echod",
        "start echod; systemctl stop echod",
        "start echod.socket; nc.openbsd -z 127.0.0.1 27978; systemctl stop echod.socket echod",
        "start echod-metrics.timer echod-metrics.service; systemctl stop echod-metrics.timer",
    ],
)
def test_systemctl_takes_nothing_from_it(box, commands):
    before = started_by_hand(box)
    box.run(f"systemctl {commands}", None)
    assert has_all(box, before)
    box.run("systemctl stop echod; echod stop")
    assert box.run("echod status", 3) == "echod: not running\n"


def test_the_service_says_why_it_waits_and_serves_when_that_daemon_has_ended(box):
    before = started_by_hand(box)
    box.run("systemctl start echod", 1)
    said = (
        f"echod: a daemon that systemd did not start is there: state running, pid {before[0]}; to stop it: echod stop"
    )
    assert said in box.journal("-p", "err")
    wait_for(lambda: int(box.show("NRestarts")) > 1, "more tries")
    assert has_all(box, before)
    box.run("echod stop")
    wait_for(lambda: box.show("ActiveState") == "active", "the service")
    assert box.echo("hello") == "hello"


def test_a_start_that_fails_takes_nothing_from_another_daemon_there(box):
    """A second daemon, whose pid file is next to the default one."""
    box.run("echod -o pid_file=/run/echod/second.pid -o listen=127.0.0.1:4022 start")
    box.configure("max_children = many")
    second = "stat -c '%n %i %u:%g' /run/echod/second.pid*"
    before = box.run(second)
    box.run("systemctl start echod", 1)
    box.configure("")
    box.run("systemctl start echod; systemctl restart echod")
    assert box.echo("hello") == "hello"
    # the service's user may not remove what belongs to others
    user = "setpriv --reuid $(stat -c %u /run/echod/echod.pid) --regid $(stat -c %g /run/echod) --clear-groups"
    box.run(f"{user} rm -f /run/echod/second.pid", 1)
    box.run("systemctl stop echod")
    assert box.run(second) == before
    assert box.echo("hello", 4022) == "hello"
    box.run("echod -o pid_file=/run/echod/second.pid stop")


@pytest.mark.parametrize("leftover", ["", "rm /run/echod/echod.pid", "echo 1 >/run/echod/echod.pid"])
def test_what_a_killed_daemon_leaves_is_no_obstacle(box, leftover):
    """Root's files, in a directory where the service's user may not remove them."""
    pid, _ = started_by_hand(box)
    box.run(f"kill -KILL {pid}; {leftover}")
    box.run("systemctl start echod")
    assert box.echo("hello") == "hello"
    pid = box.show("MainPID")
    box.run(f"systemctl kill --signal=KILL echod; {leftover}")
    wait_for(lambda: box.show("MainPID") not in ("0", pid) and box.show("ActiveState") == "active", "the restart")
    box.run("systemctl stop echod")
    assert box.run("ls -A /run/echod") == ""
    assert has_all(box, started_by_hand(box))  # and the other way round
    box.run("echod stop")


def test_another_user_is_told_of_the_service(box):
    box.run("systemctl start echod")
    pid = box.show("MainPID")
    said = box.run(
        "setpriv --reuid nobody --regid nogroup --clear-groups echod -o pid_file=/run/echod/echod.pid status", 0
    )
    assert f"running, pid {pid}," in said


@pytest.mark.parametrize("line", ["pid_file = /run/echod/other.pid", "# as it is"])
def test_the_config_says_where_the_pid_file_is_to_the_unit_and_to_the_commands(box, line):
    box.configure(line)
    box.run("systemctl start echod")
    assert str(box.status()["pid"]) == box.show("MainPID")
    box.run("systemctl reload echod; echod reload; echod reopen; echod upgrade")
    assert str(box.status()["pid"]) == box.show("MainPID")


def test_options_are_in_etc_default(box):
    box.write("/etc/default/echod", "ECHOD_OPTIONS=-o max_children=7 -o log_level=debug\n")
    box.run("systemctl start echod")
    assert box.status()["overrides"] == ["max_children=7", "log_level=debug"]
    assert box.status()["max_children"] == 7
    box.run("systemctl reload echod")
