"""The resolver does not answer: `reload` fails before it asks the daemon, which goes on serving."""

from __future__ import annotations

import socket

import pytest

from support.daemon import Echod
from support.processes import MountNamespace
from support.sockets import exchange

PORT = 53  # resolv.conf(5) knows no other


@pytest.fixture
def echod(public, tmp_path):
    """Yield a daemon where names are asked of 127.0.53.53, which never answers."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.53.53\noptions timeout:30 attempts:1\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: dns\n")
    script = "".join(f"mount --bind {tmp_path}/{name} /etc/{name}\n" for name in ("resolv.conf", "nsswitch.conf"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute, MountNamespace(script) as namespace:
        mute.bind(("127.0.53.53", PORT))
        daemon = Echod(public, prefix=namespace.prefix)
        yield daemon
        daemon.cleanup()


def test_reload_fails_and_the_daemon_serves(echod):
    echod.start()
    address = echod.address
    echod.write(listen=f"{address[0]}:{address[1]} new.example:0")
    done = echod.run("reload", check=1)
    assert "new.example:0: no answer from the resolver" in done.stderr
    assert done.stderr.count("\n") == 1
    assert exchange(address, b"still here") == b"still here"
    assert echod.status()["generation"] == 1
    echod.write(listen="127.0.0.1:0", max_children=7)
    echod.run("reload", check=0)
