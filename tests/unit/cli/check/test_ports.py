from __future__ import annotations

import errno
import os
import socket

import pytest

from echod.cli import rehearsal
from echod.cli.check import ports
from echod.common.sockets import bind_socket
from support.sockets import port_of_its_own
from support.wait import skip


def of(plan, listen, held=()):
    found = plan(f"listen={listen}")
    found.state = {"listen": list(held)}
    return list(ports.warnings(found))


@pytest.mark.parametrize(("bound", "wanted"), [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "*"), ("", "127.0.0.1")])
def test_a_port_that_another_holds_is_named_with_its_holder(plan, bound, wanted):
    port = port_of_its_own()
    with socket.create_server((bound, port)):
        (found,) = of(plan, f"{wanted}:{port}")
        assert f":{port}: is taken by process {os.getpid()} (" in found
        assert f"`kill {os.getpid()}`" in found
        assert of(plan, f"{wanted}:{port}", [f"{bound or '0.0.0.0'}:{port}"]) == []
    assert of(plan, f"{wanted}:{port}") == []


@pytest.mark.parametrize("wanted", ["[::1]", "*"])
def test_a_port_that_another_holds_on_ipv6(plan, wanted):
    port = port_of_its_own()
    try:
        other = socket.create_server(("::1", port), family=socket.AF_INET6)
    except OSError:
        skip("IPv6")
    with other:
        (found,) = of(plan, f"{wanted}:{port}")
        assert f"is taken by process {os.getpid()} (" in found


def test_an_address_that_no_interface_has(plan):
    (found,) = of(plan, "192.0.2.1:7777")
    assert found.startswith("listen: 192.0.2.1:7777: no interface has this address; `ip address add 192.0.2.1 dev ")


def test_a_name_that_nobody_knows(plan, monkeypatch):
    def unknown(*_args, **_kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    (found,) = of(plan, "echo.invalid:7")
    assert found == (
        "listen: cannot listen on echo.invalid:7: Name or service not known; "
        "`getent ahosts echo.invalid` asks the resolver"
    )


def test_a_machine_without_ipv6_listens_on_ipv4_alone(plan, monkeypatch):
    before = bind_socket

    def without(family, where):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return before(family, where)

    monkeypatch.setattr(rehearsal, "bind_socket", without)
    assert of(plan, "*:0") == []
    (found,) = of(plan, "[::1]:0")
    assert "not supported" in found


def test_a_holder_that_cannot_be_seen(monkeypatch):
    monkeypatch.setattr(ports, "listeners", lambda *_: {"socket:[x]"})
    assert ports.holder("127.0.0.1", 7) == (
        "a process that cannot be seen; `ss -ltnp sport = :7`, as root, tells which"
    )


def test_no_socket_stays_open(plan):
    before = os.listdir("/proc/self/fd")
    of(plan, "127.0.0.1:0 192.0.2.1:7")
    assert os.listdir("/proc/self/fd") == before
