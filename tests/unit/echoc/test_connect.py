from __future__ import annotations

import shlex
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from echod.echoc import ConnectError, Target
from echod.echoc.connect import connect
from support.wait import need, need_localhost, need_root

if TYPE_CHECKING:
    from collections.abc import Callable
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
def several(tmp_path: Path) -> Callable[[int], CompletedProcess[bytes]]:
    def run(port: int) -> CompletedProcess[bytes]:
        hosts = "127.0.0.2 several\n127.0.0.3 several\n127.0.0.1 several\n"
        return in_namespace_with_hosts(
            tmp_path, hosts, f"exec {shlex.quote(sys.executable)} -m echod.echoc several {port}"
        )

    need_root()
    return run


def test_tries_each_address_of_a_name(several: Callable[[int], CompletedProcess[bytes]], server: StartServer) -> None:
    result = several(server("right"))
    assert (result.returncode, result.stdout) == (0, b"hello")


def test_tells_why_each_address_failed(several: Callable[[int], CompletedProcess[bytes]], unused_port: int) -> None:
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
            pytest.raises(ConnectError, match=r"127\.0\.0\.1: no answer within 0\.2 s"),
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
