"""A machine that has one of IPv4 and IPv6: names that stand for addresses of both, and addresses of the other."""

from __future__ import annotations

import pytest

from support.sockets import port_of_its_own

WHERE = ("no-ipv6-address", "no-ipv6-family", "ipv6-only", "no-ipv4-family")
LACKS = {"127.0.0.1": "[::1]:0", "::1": "127.0.0.1:0"}  # the address of clients there; what cannot be listened on
NAMES = {"127.0.0.1": ("ip6-localhost", "::1"), "::1": ("ip4-localhost", "127.0.0.1")}


def refused(daemon, listen):
    """Start a daemon that cannot listen, and return its message."""
    daemon.write(listen=listen)
    done = daemon.run("start", check=1)
    assert done.stderr.count("\n") == 1
    assert not daemon.pid_file.exists()
    return done.stderr


def test_an_address_that_the_machine_lacks(place, daemon):
    lacks = LACKS[place.host]
    assert refused(daemon, lacks).startswith(f"echod: cannot listen on {lacks}: ")


def test_the_other_address(place, daemon):
    daemon.start(listen=place.at(0))
    daemon.connect().close()


def test_a_name_stands_for_the_addresses_that_the_machine_has(daemon):
    """As Docker's /etc/hosts has ::1 for localhost in a network without IPv6."""
    daemon.start(listen="localhost:0")
    daemon.connect().close()


def test_a_name_of_which_the_machine_has_no_address(place, daemon):
    name, address = NAMES[place.host]
    assert address in refused(daemon, f"{name}:0")


@pytest.mark.parametrize("command", ["reload", "restart"])
def test_a_daemon_keeps_serving(place, daemon, command):
    """Told to listen on what the machine lacks, a reload and a restart change nothing."""
    daemon.start(listen=place.at(0))
    pid = daemon.pid
    daemon.write(listen=LACKS[place.host])
    assert daemon.run(command).returncode == 1
    assert daemon.pid == pid
    daemon.connect().close()


def test_the_addresses_that_a_name_has_and_the_machine_lacks_are_named(place, daemon):
    daemon.write(listen="localhost:0")
    done = daemon.run("start", check=0)
    other = NAMES[place.host][1]
    written = f"[{other}]" if ":" in other else other
    assert done.stderr.startswith(f"echod: warning: cannot listen on localhost:0 ({written}:0): ")
    assert done.stderr.count("\n") == 1


def test_a_reload_names_them(place, daemon):
    daemon.start(listen=place.at(0))
    with place.network():
        port = port_of_its_own()
    daemon.write(listen=f"localhost:{port}")
    assert f"cannot listen on localhost:{port} (" in daemon.run("reload", check=0).stdout
    place.connect(port).close()


@pytest.mark.parametrize("form", [":{}", "{}", "*:{}"])
def test_a_port_alone(place, daemon, form):
    with place.network():
        port = port_of_its_own()
    daemon.start(listen=form.format(port))
    place.connect(port).close()
