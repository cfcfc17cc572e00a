"""echod under this machine's systemd, with the units as they are shipped: booted in a box of its own."""

from __future__ import annotations

import signal

import pytest

from echod.common.config.settings import load
from support.systemd_box import UNITS
from support.wait import wait_for

SERVICE, SOCKET = UNITS / "echod.service", UNITS / "echod.socket"
MANY = """
import socket
conns = [socket.create_connection(("127.0.0.1", 27978), 20) for _ in range(256)]
for conn in conns:
    conn.sendall(b"x")
print(sum(len(conn.recv(1)) for conn in conns), flush=True)
input()
"""
LOG = "log = /var/log/echod/echod.log\nbacklog = 5\n"


def test_check_describes_the_service(boot):
    """Its user exists only while it runs, and its log is where nobody else may look."""
    box = boot(SERVICE, SOCKET, config=LOG)
    stopped = box.run("echod check --strict")
    assert stopped.startswith("# no daemon runs; echod.service would start this one\n[echod]\n")
    assert "\nuser = echod " in stopped
    box.run("systemctl start echod")
    pid = box.show("MainPID")
    running = box.run("echod check --strict")
    assert running.startswith(f"# process {pid}, of user echod\n[echod]\n")
    assert box.run("echod check --explain 192.0.2.7").startswith(f"daemon   process {pid}, of user echod\n")
    told = box.run("echod check --strict -o max_children=5000 2>&1 || true")
    assert "`systemctl set-property echod.service TasksMax=5001`" in told
    box.run("systemctl stop echod")
    box.run("systemctl start echod.socket")
    assert box.run("echod check --strict").startswith("# no daemon runs; echod.service would start this one")
    box.run("systemctl stop echod.socket")
    told = box.run("echod check --strict -o max_children=5000 2>&1 || true")
    assert "TasksMax is 288; `systemctl set-property echod.service TasksMax=5001`" in told


def test_the_service_as_it_is_shipped(boot):
    box = boot(SERVICE)
    box.run("systemd-analyze verify --man=no /etc/systemd/system/echod.service")
    box.run("systemctl start echod")
    assert box.show("ActiveState") == "active"
    assert box.show("StatusText").startswith("serving on 0.0.0.0:27978")
    assert box.echo("hello") == "hello"
    state = box.status()
    assert state["pid"] == int(box.show("MainPID"))
    assert box.run(f"stat -c %U /proc/{state['pid']}").strip() == "echod"
    assert "ready listen=" in box.journal()
    assert box.show("OOMPolicy") == "continue"

    box.run(f"kill -KILL {state['pid']}")
    wait_for(lambda: box.show("MainPID") not in ("0", str(state["pid"])), "the restart")
    wait_for(lambda: box.show("ActiveState") == "active", "the new daemon")
    assert box.echo("again") == "again"

    box.run("systemctl stop echod")
    assert (box.show("Result"), box.show("ActiveState")) == ("success", "inactive")
    assert box.run("echod status", code=3)
    assert box.journal().rstrip().endswith("Stopped echod.service - TCP echo daemon (RFC 862).")


def test_a_reload_tells_its_outcome(boot):
    box = boot(SERVICE)
    box.run("systemctl start echod")
    pid = box.show("MainPID")
    box.configure("max_children = 7")
    box.run("systemctl reload echod")
    assert box.status()["max_children"] == 7
    assert "max_children: 256 -> 7" in box.journal()
    box.configure("max_children = many")
    box.run("systemctl reload echod", code=1)
    assert "/etc/echod.conf:2: max_children: 'many'" in box.journal("-p", "err")
    assert "max_children: 256 -> 7" not in box.journal("-p", "err")
    assert box.echo("as before") == "as before"
    assert (box.show("ActiveState"), box.show("MainPID")) == ("active", pid)
    box.run("echod reload", code=6)
    box.run("rm /etc/echod.conf; echod reload")
    assert box.status()["max_children"] == 256


def test_a_stop_drains_the_clients(boot):
    box = boot(UNITS / "echod.service")
    box.run("systemctl start echod")
    # a client that is half-way through, and reads only after the stop has begun
    box.run("mkfifo /run/in /run/out; nc.openbsd -N 127.0.0.1 27978 </run/in >/run/out & exec 7>/run/in 8</run/out")
    box.run("printf 'before\\n' >&7; read -r line <&8; echo $line")
    assert box.status()["clients"] == 1
    box.run("systemctl stop echod; exec 7>&-; cat <&8; exec 8<&-; wait")
    assert "reason=drain in=7 out=7" in box.journal()
    assert "drain clients=1" in box.journal()
    assert box.show("Result") == "success"


def test_a_drain_is_not_cut_short_by_systemd(boot):
    """drain_timeout counts, and not the unit's TimeoutStopSec."""
    box = boot(SERVICE, config="drain_timeout = 1min")
    box.write("/etc/systemd/system/echod.service.d/test.conf", "[Service]\nTimeoutStopSec=1s\n")
    box.run("systemctl daemon-reload; systemctl start echod")
    box.run("mkfifo /run/in /run/out; nc.openbsd -N 127.0.0.1 27978 </run/in >/run/out & exec 7>/run/in 8</run/out")
    box.run("printf 'x\\n' >&7; read -r line <&8")
    pid = int(box.show("MainPID"))
    box.run(f"kill -STOP $(pgrep -P {pid}); systemctl stop --no-block echod")
    wait_for(lambda: box.show("StatusText").startswith("draining"), "the drain")
    box.run("sleep 1.5")  # longer than TimeoutStopSec
    assert box.show("ActiveState") == "deactivating"
    box.run(f"kill -CONT $(pgrep -P {pid}); exec 7>&- 8<&-")
    wait_for(lambda: box.show("ActiveState") == "inactive", "the end")
    assert box.show("Result") == "success"


@pytest.mark.parametrize(
    ("config", "code", "why"),
    [
        ("max_children = many", 6, "/etc/echod.conf:2: max_children: 'many'"),
        ("listen = 127.0.0.1:7", 4, "cannot listen on 127.0.0.1:7: Permission denied"),
    ],
)
def test_a_start_that_cannot_succeed_is_told_and_not_repeated(boot, config, code, why):
    box = boot(SERVICE, config=config)
    box.run("systemctl start echod", code=1)
    assert why in box.journal("-p", "err")
    assert (box.show("ActiveState"), box.show("ExecMainStatus"), box.show("NRestarts")) == ("failed", str(code), "0")


def test_a_low_port(boot):
    box = boot(SERVICE, UNITS / "echod.service.d", config="listen = 127.0.0.1:7")
    box.run("systemd-analyze verify --man=no /etc/systemd/system/echod.service")
    box.run("systemctl start echod")
    assert box.echo("hello", port=7) == "hello"
    box.configure("listen = 127.0.0.1:9")
    box.run("systemctl reload echod")
    assert box.echo("hello", port=9) == "hello"


def test_the_watchdog(boot):
    box = boot(SERVICE)
    box.write("/etc/systemd/system/echod.service.d/test.conf", "[Service]\nWatchdogSec=1s\n")
    box.run("systemctl daemon-reload; systemctl start echod")
    pid, begun = box.show("MainPID"), int(box.show("WatchdogTimestampMonotonic"))
    wait_for(lambda: int(box.show("WatchdogTimestampMonotonic")) > begun + 1500000, "answers, of an idle daemon")
    assert box.show("MainPID") == pid
    box.run(f"kill -STOP {pid}")
    wait_for(lambda: "Watchdog timeout" in box.journal(), "systemd to notice")
    wait_for(lambda: box.show("MainPID") not in ("0", pid) and box.show("ActiveState") == "active", "the restart")
    assert box.echo("again") == "again"


def test_the_number_of_clients_is_told(boot):
    box = boot(SERVICE)
    box.run("systemctl start echod")
    listen = box.show("StatusText")
    box.run("mkfifo /run/in; nc.openbsd -N 127.0.0.1 27978 </run/in >/run/out & exec 7>/run/in; echo x >&7")
    wait_for(lambda: box.show("StatusText") == f"{listen}, clients: 1", "one client")
    box.run("exec 7>&-; wait")
    wait_for(lambda: box.show("StatusText") == f"{listen}, clients: 0", "none")


def test_by_hand_it_is_left_to_systemctl(boot):
    box = boot(SERVICE)
    box.run("systemctl start echod")
    pid = box.show("MainPID")
    for command in ("stop", "restart", "stop --force"):
        verb = command.split()[0]
        assert box.run(f"echod {command}", code=1) == (
            f"echod: {verb}: process {pid} is managed by systemd (echod.service); "
            f"use `systemctl {verb} echod.service`\n"
        )
    assert box.run("echod start") == f"echod: already running, pid {pid}\n"
    box.run("systemctl stop echod; echod start; echod restart")  # that one is not systemd's
    box.run("systemctl is-active echod", code=3)
    box.run("echod stop")


def test_as_many_tasks_as_children(boot):
    """The cap is reached, and a reload still has a process to run in."""
    assert load("/dev/null", [], "/", log="none").max_children == 256
    box = boot(SERVICE)
    box.write("/run/many.py", MANY)
    box.run("systemctl start echod; mkfifo /run/in; python3 /run/many.py </run/in >/run/out & exec 7>/run/in")
    wait_for(lambda: box.run("cat /run/out") == "256\n", "256 clients to be served")
    assert box.status()["clients"] == 256
    box.run("systemctl reload echod; exec 7>&-; wait")
    assert "fork error" not in box.journal()


def test_signals_reach_the_daemon_and_not_its_clients(boot):
    box = boot(UNITS / "echod.service")
    box.run("systemctl start echod")
    box.run("mkfifo /run/in /run/out; nc.openbsd -N 127.0.0.1 27978 </run/in >/run/out & exec 7>/run/in 8</run/out")
    box.run("printf 'x\\n' >&7; read -r line <&8")
    box.run(f"systemctl kill --signal={signal.SIGHUP.value} echod")  # to every process of the service
    wait_for(lambda: box.status()["generation"] == 2, "the reload")
    assert box.run("printf 'y\\n' >&7; read -r line <&8; echo $line").strip() == "y"
    box.run("exec 7>&- 8<&-")


def test_an_upgrade_keeps_the_main_process_and_its_clients(boot):
    box = boot(UNITS / "echod.service")
    box.run("systemctl start echod")
    pid = box.show("MainPID")
    box.run("mkfifo /run/in /run/out; nc.openbsd -N 127.0.0.1 27978 </run/in >/run/out & exec 7>/run/in 8</run/out")
    box.run("printf 'x\\n' >&7; read -r line <&8")
    for _ in range(2):
        box.run("echod -o pid_file=/run/echod/echod.pid upgrade")
    assert (box.show("MainPID"), box.show("ActiveState"), box.show("NRestarts")) == (pid, "active", "0")
    assert box.run("printf 'y\\n' >&7; read -r line <&8; echo $line").strip() == "y"
    assert "upgrade version=" in box.journal()
    assert box.echo("another") == "another"
    box.run("exec 7>&- 8<&-; systemctl stop echod")
    assert box.show("Result") == "success"
