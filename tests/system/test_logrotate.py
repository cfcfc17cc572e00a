"""logrotate with etc/logrotate.d/echod, in a systemd box: not a line is lost while clients come."""

from __future__ import annotations

import json

import pytest

from support.systemd_box import UNITS, EchodBox
from support.wait import need, wait_for

SNIPPET = UNITS.parent / "etc" / "logrotate.d" / "echod"
LOGS = "/var/log/echod"
# Clients one after another until a file says to stop; prints how many.
LOAD = """
import os, socket
count = 0
while not os.path.exists("/run/enough"):
    with socket.create_connection(("127.0.0.1", 27978), 20) as conn:
        conn.sendall(b"x")
        conn.recv(1)
    count += 1
print(count)
"""


@pytest.fixture
def box(tmp_path):
    """Yield a box where the service logs to a file, beside the snippet."""
    need("logrotate")
    with EchodBox(tmp_path, UNITS / "echod.service", config=f"log = {LOGS}/echod.log") as box:
        box.write("/etc/logrotate.d/echod", SNIPPET.read_text())
        box.run("chmod 644 /etc/logrotate.d/echod; systemctl start echod")
        yield box


def lines(box):
    """Return how many clients the files tell of."""
    return int(box.run(f"zcat -f {LOGS}/* | grep -c ' close '", None))


def more_lines(box):
    """Wait for more clients to be told of."""
    before = lines(box)
    wait_for(lambda: lines(box) > before + 20, "more clients")


def test_no_line_is_lost(box):
    box.write("/run/load.py", LOAD)
    box.run("python3 /run/load.py >/run/count &")
    for _ in range(2):
        more_lines(box)
        assert box.run("logrotate --force /etc/logrotate.d/echod") == ""
    more_lines(box)
    box.run("touch /run/enough; wait")
    wait_for(lambda: not json.loads(box.run("echod status --json"))["clients"], "the last one's end")
    wait_for(lambda: lines(box) == int(box.run("cat /run/count")), "a line for each client")
    assert box.run(f"ls {LOGS}").split() == ["echod.log", "echod.log.1", "echod.log.2.gz"]
    assert box.run(f"stat -c '%U %a' {LOGS}/echod.log") == "echod 640\n"


def test_another_pid_file_of_the_config_is_found(box):
    box.configure(f"log = {LOGS}/echod.log\npid_file = /run/echod/other.pid")
    box.run("systemctl restart echod; logrotate --force /etc/logrotate.d/echod")
    assert box.echo("hello") == "hello"
    wait_for(lambda: " close " in box.run(f"cat {LOGS}/echod.log", None), "the line, in the new file")


def test_a_stopped_daemon_is_no_error(box):
    box.run("systemctl stop echod")
    assert box.run("logrotate --force /etc/logrotate.d/echod") == ""
    assert box.run(f"ls {LOGS}").split() == ["echod.log.1"]
