from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from echod.echoc import ConnectError, Target
from echod.echoc.connect import PORT, connect
from support.processes import MountNamespace
from support.wait import DEADLINE, need, need_localhost, need_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

    from support.kinds import Echoc, StartServer


def test_ipv6(echoc: Echoc, server: StartServer) -> None:
    assert echoc("::1", server("right", "::1"), input=b"six").stdout == b"six"


def test_only_the_family_asked_for(echoc: Echoc, server: StartServer) -> None:
    port = server("right")
    assert echoc("-4", "127.0.0.1", port, input=b"four").stdout == b"four"
    result = echoc("-6", "127.0.0.1", port)
    assert result.returncode == 3
    assert b"127.0.0.1: " in result.stderr


def in_namespace_with_hosts(tmp_path: Path, hosts: str, command: str) -> CompletedProcess[bytes]:
    """Run a shell command where /etc/hosts is of our making."""
    need_localhost()  # there must be a file to mount over
    (tmp_path / "hosts").write_text(hosts)
    script = f"mount --bind {shlex.quote(str(tmp_path))}/hosts /etc/hosts && {command}"
    return subprocess.run(
        [need("unshare"), "--mount", "sh", "-c", script], capture_output=True, timeout=60, check=False, input=b"hello"
    )


@pytest.fixture
def several(tmp_path: Path) -> Callable[..., CompletedProcess[bytes]]:
    def run(port: int, *options: str) -> CompletedProcess[bytes]:
        hosts = "127.0.0.2 several\n127.0.0.3 several\n127.0.0.1 several\n"
        hosts += "".join(f"127.1.{number >> 8}.{number & 255} thousands\n" for number in range(3000))
        command = shlex.join([sys.executable, "-m", "echod.echoc", *(options or ("several",)), str(port)])
        return in_namespace_with_hosts(tmp_path, hosts, f"exec {command}")

    need_root()
    return run


def test_tries_each_address_of_a_name(several: Callable[..., CompletedProcess[bytes]], server: StartServer) -> None:
    result = several(server("right"))
    assert (result.returncode, result.stdout) == (0, b"hello")


def test_tells_why_each_address_failed(several: Callable[..., CompletedProcess[bytes]], unused_port: int) -> None:
    result = several(unused_port)
    assert result.returncode == 3
    text = result.stderr.decode()
    assert text.count("\n") == 1
    for address in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        assert f"{address}: refused" in text


def test_timeout_of_an_address_that_does_not_answer() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        with (
            socket.create_connection(("127.0.0.1", port)),  # its backlog of one is taken; the kernel drops our SYN
            pytest.raises(ConnectError, match=r"127\.0\.0\.1: no answer within 0\.[12]\d? s"),
        ):
            connect(Target("127.0.0.1", port, timeout=0.2))


def test_source_address() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        connect(Target("127.0.0.1", listener.getsockname()[1], source="127.0.0.9")),
    ):
        sock, peer = listener.accept()
        sock.close()
    assert peer[0] == "127.0.0.9"


def test_source_that_is_not_ours(echoc: Echoc, echo_server: tuple[str, int]) -> None:
    result = echoc("--source", "192.0.2.99", *echo_server)
    assert result.returncode == 3
    assert b"192.0.2.99" in result.stderr


MODES = [[], ["--verify"], ["--verify", "-P", "3", "-s", "1k", "--json"], ["--ping", "-c", "1"], ["--check"]]


@pytest.mark.parametrize("mode", MODES, ids=" ".join)
def test_of_thousands_of_addresses_a_few_are_named(
    several: Callable[..., CompletedProcess[bytes]], unused_port: int, mode: list[str]
) -> None:
    result = several(unused_port, *mode, "thousands")
    assert result.returncode == (2 if mode == ["--check"] else 3), result.stderr
    text = (result.stdout if mode == ["--check"] else result.stderr).decode()
    assert text.count("refused") == 5
    assert text.endswith("; and 2995 more addresses\n")
    assert text.count("\n") == 1


def test_all_addresses_share_the_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel drops the SYN to each of them: a time-out each would take an hour."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        with socket.create_connection(address):
            info = (socket.AF_INET, socket.SOCK_STREAM, 0, "", address)
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [info] * 36000)
            with pytest.raises(ConnectError, match=r": no answer within 0\.0\d+ s; .*; and 3\d+ more addresses"):
                connect(Target("127.0.0.1", address[1], timeout=0.1))


@pytest.fixture
def connected_to_itself() -> Iterator[list[str]]:
    """Yield the prefix of a command in a network whose only ephemeral port is echoc's."""
    port = f"{PORT} {PORT}"
    script = f"{need('ip')} link set lo up\necho {port} >/proc/sys/net/ipv4/ip_local_port_range"
    with MountNamespace(script, network=True) as namespace:
        yield namespace.prefix


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "localhost"])
@pytest.mark.parametrize("mode", [mode for mode in MODES if "-P" not in mode], ids=" ".join)  # there is one port
def test_a_self_connect_is_reported(connected_to_itself: list[str], address: str, mode: list[str]) -> None:
    if address == "localhost":
        need_localhost()
    # Afterwards the port is free, without SO_REUSEADDR: the server that is missing can be started.
    bind = "import socket, sys; s = socket.socket(); s.bind(('', int(sys.argv[1]))); s.listen()"
    result = subprocess.run(
        [*connected_to_itself, sys.executable, "-m", "echod.echoc", *mode, address],
        capture_output=True, input=b"hello", timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert result.returncode == (2 if mode == ["--check"] else 3), result
    text = (result.stdout if mode == ["--check"] else result.stderr).decode()
    assert ": connected to itself (a TCP self-connect): no process listens there" in text
    assert text.count("\n") == 1
    subprocess.run([*connected_to_itself, sys.executable, "-c", bind, str(PORT)], timeout=DEADLINE, check=True)


def test_a_resolver_that_does_not_answer(tmp_path: Path) -> None:
    address = "127.53." + ".".join(map(str, divmod(os.getpid() % 65536, 256)))  # no other test's
    (tmp_path / "resolv.conf").write_text(f"nameserver {address}\noptions timeout:30 attempts:1\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: dns\n")
    script = "".join(f"mount --bind {tmp_path}/{name} /etc/{name}\n" for name in ("resolv.conf", "nsswitch.conf"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute, MountNamespace(script) as namespace:
        mute.bind((address, 53))
        for mode in MODES:
            result = subprocess.run(
                [*namespace.prefix, sys.executable, "-m", "echod.echoc", *mode, "--timeout", "0.2", "new.example"],
                capture_output=True, input=b"", timeout=DEADLINE, check=False,
            )  # fmt: skip
            assert result.returncode == (2 if mode == ["--check"] else 3)
            assert b"new.example: no answer from the resolver within 0.2 s" in result.stdout + result.stderr


def test_a_server_that_resets_at_once_is_the_servers_fault(echoc: Echoc, server: StartServer) -> None:
    port = server("reset@0")
    for _ in range(5):  # the reset comes before, in or after connect(2)
        result = echoc("--proxy", "127.0.0.1", port, input=b"hello")
        assert result.returncode == 1
        assert b"reset, with 0 of " in result.stderr
