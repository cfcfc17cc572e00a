from __future__ import annotations

import errno
import os
import socket

import pytest

from echod.cli import proc, rehearsal
from echod.cli.check import ports
from echod.common.sockets import bind_socket
from support.sockets import port_of_its_own
from support.wait import skip


def of(subject, listen, held=()):
    found = subject(f"listen={listen}")
    found.held = list(held)
    return list(ports.warnings(found))


@pytest.mark.parametrize(("bound", "wanted"), [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "*"), ("", "127.0.0.1")])
def test_a_port_that_another_holds_is_named_with_its_holder(subject, bound, wanted):
    port = port_of_its_own()
    with socket.create_server((bound, port)):
        (found,) = of(subject, f"{wanted}:{port}")
        assert f":{port}: process {os.getpid()} (" in found
        assert found.endswith("; stop the service that it belongs to, or choose another port")
        assert of(subject, f"{wanted}:{port}", [f"{bound or '0.0.0.0'}:{port}"]) == []
    assert of(subject, f"{wanted}:{port}") == []


@pytest.mark.parametrize("wanted", ["[::1]", "*"])
def test_a_port_that_another_holds_on_ipv6(subject, wanted):
    port = port_of_its_own()
    try:
        other = socket.create_server(("::1", port), family=socket.AF_INET6)
    except OSError:
        skip("IPv6")
    with other:
        (found,) = of(subject, f"{wanted}:{port}")
        assert f": process {os.getpid()} (" in found


def test_an_address_that_no_interface_has(subject):
    (found,) = of(subject, "192.0.2.1:7777")
    assert found.startswith("listen: 192.0.2.1:7777: Cannot assign requested address; no interface has ")


def test_a_name_that_nobody_knows(subject, monkeypatch):
    def unknown(*_args, **_kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("echod.common.sockets.socket.getaddrinfo", unknown)  # that of the C module
    (found,) = of(subject, "echo.invalid:7")
    assert found == (
        "listen: cannot listen on echo.invalid:7: Name or service not known; "
        "`getent ahosts echo.invalid` asks the resolver"
    )


def test_a_machine_without_ipv6_listens_on_ipv4_alone(subject, monkeypatch):
    before = bind_socket

    def without(family, where):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return before(family, where)

    monkeypatch.setattr(rehearsal, "bind_socket", without)
    assert of(subject, "*:0") == []
    (found,) = of(subject, "[::1]:0")
    assert "not supported" in found


def test_a_holder_that_cannot_be_seen(monkeypatch):
    monkeypatch.setattr(ports, "sockets_at", lambda *_: {"socket:[x]": "listens on 127.0.0.1:7"})
    assert ports.holder("127.0.0.1", 7, set()) == (
        "in use by a process that cannot be seen; `ss -tanp sport = :7`, as root, names it"
    )


def test_an_outgoing_connection_may_have_the_port(subject):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as conn:
        conn.bind(("127.0.0.1", 0))  # without SO_REUSEADDR, as the port of an outgoing connection is
        conn.connect(server.getsockname())
        port = conn.getsockname()[1]
        (found,) = of(subject, f"127.0.0.1:{port}")
        use = f"uses the port for a connection with 127.0.0.1:{server.getsockname()[1]}"
        assert f"process {os.getpid()} (" in found
        assert found.endswith(f" {use}; wait until that ends, or choose another port")


def test_what_the_running_daemon_holds_is_no_fault(subject):
    port = port_of_its_own()
    with socket.create_server(("127.0.0.1", port)):
        found = subject(f"listen=*:{port}")
        found.state = {"pid": os.getpid()}
        assert list(ports.warnings(found)) == []


def test_a_port_of_systemds_and_one_of_another_echod(monkeypatch):
    monkeypatch.setattr(ports, "sockets_at", lambda *_: {"socket:[x]": "listens on 127.0.0.1:7"})
    monkeypatch.setattr(proc, "holders", lambda _: {1: 0})
    monkeypatch.setattr(ports, "seen", lambda _: [(3, "socket:[x]")])
    assert ports.holder("127.0.0.1", 7, set()) == (
        "process 1 (systemd) listens on 127.0.0.1:7 for a unit; `systemctl list-sockets` names the unit"
    )
    assert ports.holder("127.0.0.1", 7, {1}) == "", "the unit's own socket"
    monkeypatch.setattr(proc, "holders", lambda _: {os.getpid(): 0})
    monkeypatch.setattr(
        proc, "command_line", lambda _: ["python", "/x/echod/server/boot.py", "pid_file=/run/e.pid", ""]
    )
    assert ports.holder("127.0.0.1", 7, set()) == (
        f"process {os.getpid()}, the echod with pid_file = /run/e.pid, listens on 127.0.0.1:7; "
        "stop that one, or choose another port"
    )


@pytest.mark.parametrize(
    ("code", "port", "hint"),
    [
        (errno.EACCES, 7, "CAP_NET_BIND_SERVICE"),
        (errno.EACCES, 27978, "a security policy"),
        (errno.EADDRNOTAVAIL, 7, "no interface has this address"),
        (errno.EAFNOSUPPORT, 7, ""),
    ],
)
def test_why_an_address_cannot_be_bound(code, port, hint):
    found = ports.why(("127.0.0.1", port), OSError(code, "Why"), set())
    assert found.startswith("Why; " if hint else "Why")
    assert hint in found


def test_an_interface_is_not_a_host(subject):
    (found,) = of(subject, "lo:7")
    assert "; lo is an interface; `ip -br address show dev lo` lists its addresses" in found


def test_no_socket_stays_open(subject):
    before = os.listdir("/proc/self/fd")
    of(subject, "127.0.0.1:0 192.0.2.1:7")
    assert os.listdir("/proc/self/fd") == before


def test_a_listener_is_found_by_its_address_by_any_and_as_an_ipv4_mapped_one():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        own = {os.readlink(f"/proc/self/fd/{server.fileno()}")}
        use = dict.fromkeys(own, f"listens on 127.0.0.1:{port}")
        assert ports.sockets_at("127.0.0.1", port) == use
        assert ports.sockets_at("0.0.0.0", port) == use
        assert ports.sockets_at("127.0.0.2", port) == ports.sockets_at("127.0.0.1", 0) == {}
        assert os.getpid() in proc.holders(own)
        assert proc.holders({"socket:[x]"}) == {}
        with socket.create_connection(("127.0.0.1", port)) as conn:
            assert ports.sockets_at("127.0.0.1", port) == use, "a listener says more than its connections"
            host, local = conn.getsockname()
            own_end = os.readlink(f"/proc/self/fd/{conn.fileno()}")
            assert ports.sockets_at(host, local) == {own_end: f"uses the port for a connection with 127.0.0.1:{port}"}
    assert ports.sockets_at("127.0.0.1", port) == {}, "a connection that is closed has no process"


def test_a_listener_on_ipv6_has_ipv4_addresses_as_mapped_ones():
    try:
        server = socket.create_server(("::ffff:127.0.0.1", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    except OSError:
        skip("IPv6")
    with server:
        port = server.getsockname()[1]
        assert len(ports.sockets_at("127.0.0.1", port)) == 1
        assert ports.sockets_at("127.0.0.2", port) == {}
