"""What is missing at boot and comes later: the units wait for it. What no restart can fix is not tried again."""

from __future__ import annotations

import pytest

from support.systemd_box import UNITS
from support.wait import need, wait_for

SERVICE, SOCKET = UNITS / "echod.service", UNITS / "echod.socket"
BURST = 5  # starts within 10 s, after which systemd gives up unless the unit says otherwise
LATER = "192.0.2.9"
LATER_6 = "2001:db8::9"
ADD, ADD_6 = f"ip address add {LATER}/32 dev lo", f"ip address add {LATER_6}/128 dev lo"


def add(box, unit, *lines):
    """Add lines to a unit."""
    box.write(f"/etc/systemd/system/{unit}.d/test.conf", "\n".join(lines) + "\n")
    box.run("systemctl daemon-reload")


def test_the_tries_are_seconds_apart_and_have_no_end(boot):
    box = boot(SERVICE)
    assert box.show("RestartUSec") == "3s"
    assert box.show("StartLimitIntervalUSec") == "0"


@pytest.mark.parametrize(
    ("config", "why", "cure", "client"),
    [
        ("", "cannot listen on *:27978: Address already in use", "kill $(cat /run/other)", "127.0.0.1 27978"),
        (f"listen = {LATER}:7777", f"cannot listen on {LATER}:7777: Cannot assign", ADD, f"{LATER} 7777"),
        (f"listen = [{LATER_6}]:7777", f"cannot listen on [{LATER_6}]:7777: Cannot assign", ADD_6, f"{LATER_6} 7777"),
        ("listen = later:7777", "later:7777: ", f"{ADD}; echo {LATER} later >>/etc/hosts", f"{LATER} 7777"),
    ],
    ids=["port", "address", "address of IPv6", "name"],
)
def test_a_service_is_up_by_itself_when_the_obstacle_has_gone(boot, config, why, cure, client):
    need("ip")
    box = boot(SERVICE, config=config)
    add(box, "echod.service", "[Service]", "RestartSec=100ms")
    box.run("nc.openbsd -lk 127.0.0.1 27978 >/run/other.log 2>&1 & echo $! >/run/other")
    wait_for(lambda: box.run("ss -Hltn sport = 27978"), "the other process")
    box.run("systemctl start echod", 1)
    wait_for(lambda: int(box.show("NRestarts")) > BURST, "more tries than systemd makes otherwise")
    assert why in box.journal("-p", "err")
    box.run(cure)
    wait_for(lambda: box.show("ActiveState") == "active", "the service")
    assert box.run(f"printf hello | nc.openbsd -N {client}") == "hello"


@pytest.mark.parametrize("code", [2, 4, 5, 6])
def test_what_no_restart_can_fix_is_not_tried_again(boot, code):
    box = boot(SERVICE)
    add(box, "echod.service", "[Service]", "RestartSec=100ms", "ExecStart=", f"ExecStart=/bin/sh -c 'exit {code}'")
    box.run("systemctl start echod", 1)
    assert (box.show("ActiveState"), box.show("ExecMainStatus"), box.show("NRestarts")) == ("failed", str(code), "0")


def test_sockets_of_which_none_is_of_tcp(boot):
    box = boot(SERVICE, SOCKET)
    add(box, "echod.socket", "[Socket]", "ListenStream=", "ListenDatagram=27978")
    box.run("systemctl start echod.socket")
    box.run("systemctl start echod", 1)
    assert "is not a listening TCP socket; see ListenStream= of the unit" in box.journal("-p", "err")
    assert (box.show("ActiveState"), box.show("ExecMainStatus"), box.show("NRestarts")) == ("failed", "6", "0")


@pytest.mark.parametrize(("address", "cure"), [(LATER, ADD), (f"[{LATER_6}]", ADD_6)])
def test_a_socket_on_an_address_that_appears_later(boot, address, cure):
    need("ip")
    box = boot(SERVICE, SOCKET)
    add(box, "echod.socket", "[Socket]", f"ListenStream={address}:7777")
    box.run("systemctl start echod.socket")
    assert box.echo("hello") == "hello"
    box.run(cure)
    assert box.run(f"printf hello | nc.openbsd -N {address.strip('[]')} 7777") == "hello"
