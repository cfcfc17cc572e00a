"""The sandbox of systemd/: rated by systemd itself, with all that echod does at work in it."""

from __future__ import annotations

import subprocess

import pytest

from support.systemd_box import UNITS, EchodBox
from support.wait import need, wait_for

MOST = 15  # tenths


@pytest.mark.parametrize("unit", ["echod.service", "echod@.service"])
def test_systemd_rates_it_well(unit):
    command = [need("systemd-analyze"), "security", "--offline=true", f"--threshold={MOST}", "--no-pager"]
    done = subprocess.run([*command, str(UNITS / unit)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Overall exposure level" in done.stdout


@pytest.fixture
def box(tmp_path):
    """Return a box where the service runs."""
    config = "log = /var/log/echod/echod.log\nlog_level = debug"
    with EchodBox(tmp_path, UNITS / "echod.service", config=config) as box:
        box.run("systemctl start echod")
        yield box


def test_a_log_file_is_reopened_in_it(box):
    assert box.echo("hello") == "hello"
    wait_for(lambda: "reason=eof in=5 out=5" in box.run("cat /var/log/echod/echod.log"), "the line")
    box.run("mv /var/log/echod/echod.log /var/log/echod/old; echod reopen")
    assert box.echo("more") == "more"
    wait_for(lambda: "reason=eof in=4 out=4" in box.run("cat /var/log/echod/echod.log"), "the line")
    assert box.run("stat -c %a /var/log/echod/echod.log") == "640\n"


def test_syslog_reaches_journald_from_it(box):
    box.configure("log = syslog\nlog_level = debug")
    box.run("systemctl reload echod")
    assert box.echo("hello") == "hello"
    wait_for(
        lambda: "reason=eof in=5 out=5" in box.run("journalctl --no-pager -o cat _TRANSPORT=syslog -t echod"),
        "the line",
    )


def test_listeners_change_in_it(box):
    """A reload that moves a listener empties it by a socket option that needs no right (SO_BINDTOIFINDEX)."""
    box.configure("listen = 127.0.0.1:4021, [::1]:4022, localhost:4023\nmax_children_per_source = 9")
    box.run("systemctl reload echod")
    assert [box.echo("hello", port) for port in (4021, 4023)] == ["hello", "hello"]
    box.echo("hello", code=1)
    assert "error" not in box.journal()
    assert "warning" not in box.run("cat /var/log/echod/echod.log")


def test_nobody_else_gains_by_it(box):
    """What the sandbox is for, seen from a child."""
    pid = box.show("MainPID")
    status = dict(line.split(":\t") for line in box.run(f"cat /proc/{pid}/status").splitlines() if ":\t" in line)
    assert (int(status["CapBnd"], 16), status["NoNewPrivs"], status["Seccomp"]) == (0, "1", "2")
    inside = f"nsenter -t {pid} -m --"
    box.run(f"{inside} touch /etc/x", code=1)
    assert box.run(f"{inside} ls -A /home /root") in ("/home:\n\n/root:\n", "ls: cannot open directory '/root'\n")
