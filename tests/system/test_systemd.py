"""echod under this machine's systemd, with the units as they are shipped: booted in a box of its own."""

from __future__ import annotations

import signal

import pytest

from support.systemd_box import UNITS, EchodBox
from support.wait import wait_for


@pytest.fixture
def boot(tmp_path):
    """Return a function that boots a box with units."""
    boxes = []

    def start(*units, config=""):
        boxes.append(EchodBox(tmp_path, *units, config=config))
        return boxes[-1]

    yield start
    for box in boxes:
        box.close()


def test_the_service_as_it_is_shipped(boot):
    box = boot(UNITS / "echod.service")
    box.run("systemd-analyze verify --man=no /etc/systemd/system/echod.service")
    box.run("systemctl start echod")
    assert box.show("ActiveState") == "active"
    assert box.show("StatusText").startswith("serving on 0.0.0.0:27978")
    assert box.echo("hello") == "hello"
    state = box.status()
    assert state["pid"] == int(box.show("MainPID"))
    assert box.run(f"stat -c %U /proc/{state['pid']}").strip() == "echod"
    assert "ready listen=" in box.journal()

    box.run("printf '[echod]\\nmax_children = 7\\n' > /etc/echod.conf; systemctl reload echod")
    wait_for(lambda: box.status()["max_children"] == 7, "the reload")
    box.run("printf '[echod]\\nmax_children = many\\n' > /etc/echod.conf; systemctl reload echod")
    wait_for(lambda: "/etc/echod.conf:2" in box.status()["last_reload"], "the failed reload")
    assert "reload failed=" in box.run("journalctl --no-pager -p err -u echod")
    assert "ready listen=" not in box.run("journalctl --no-pager -p err -u echod")
    assert box.echo("as before") == "as before"
    assert (box.show("ActiveState"), box.status()["pid"]) == ("active", state["pid"])
    box.run("echod reload", code=6)
    box.run("rm /etc/echod.conf; echod reload")

    box.run(f"kill -KILL {state['pid']}")
    wait_for(lambda: box.show("MainPID") not in ("0", str(state["pid"])), "the restart")
    wait_for(lambda: box.show("ActiveState") == "active", "the new daemon")
    assert box.echo("again") == "again"

    box.run("systemctl stop echod")
    assert (box.show("Result"), box.show("ActiveState")) == ("success", "inactive")
    assert box.run("echod status", code=3)
    assert box.journal().rstrip().endswith("Stopped echod.service - TCP echo daemon (RFC 862).")


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


def test_a_broken_config_is_told(boot):
    box = boot(UNITS / "echod.service", config="max_children = many")
    box.run("systemctl start echod", code=1)
    assert "/etc/echod.conf:2: max_children: 'many'" in box.journal()


def test_socket_activation(boot):
    box = boot(UNITS / "echod.service", UNITS / "echod.socket")
    box.run("systemctl start echod.socket")
    assert box.show("ActiveState") == "inactive"
    assert box.echo("wake up") == "wake up"
    pid = box.show("MainPID")
    state = box.status()
    assert (str(state["pid"]), state["listen"], state["accepted"]) == (pid, ["[::]:27978"], 1)
    box.run("echod -o max_children=3 check")
    box.run("printf '[echod]\\nlisten = *:99\\nmax_children = 3\\n' > /etc/echod.conf")
    assert "listen: *:27978 -> *:99 (needs a restart)" in box.run("echod reload")
    assert box.echo("same socket") == "same socket"
    box.run("systemctl restart echod")
    assert box.echo("nobody was turned away") == "nobody was turned away"
    assert box.show("MainPID") != pid
    box.run("systemctl stop echod 2>/dev/null")
    assert box.echo("and again") == "and again"


INETD = """
[Socket]
ListenStream=127.0.0.1:7
Accept=yes
"""
INETD_SERVICE = """
[Service]
ExecStart=/usr/bin/echod -o log=syslog inetd
StandardInput=socket
StandardOutput=journal
DynamicUser=yes
"""


def test_one_service_a_client(boot, tmp_path):
    units = [tmp_path / "echo.socket", tmp_path / "echo@.service"]
    units[0].write_text(INETD)
    units[1].write_text(INETD_SERVICE)
    box = boot(*units)
    box.run("systemctl start echo.socket")
    assert box.echo("one of many", port=7) == "one of many"
    wait_for(lambda: "reason=eof in=11 out=11" in box.run("journalctl --no-pager"), "the line in the journal")


def test_signals_reach_the_daemon_and_not_its_clients(boot):
    box = boot(UNITS / "echod.service")
    box.run("systemctl start echod")
    box.run("mkfifo /run/in /run/out; nc.openbsd -N 127.0.0.1 27978 </run/in >/run/out & exec 7>/run/in 8</run/out")
    box.run("printf 'x\\n' >&7; read -r line <&8")
    box.run(f"systemctl kill --signal={signal.SIGHUP.value} echod")  # to every process of the service
    wait_for(lambda: box.status()["generation"] == 2, "the reload")
    assert box.run("printf 'y\\n' >&7; read -r line <&8; echo $line").strip() == "y"
    box.run("exec 7>&- 8<&-")
