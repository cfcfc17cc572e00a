"""The resolver does not answer: a reload fails, and the daemon serves all the time."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from support.daemon import Echod, clients_of
from support.processes import MountNamespace
from support.sockets import exchange
from support.wait import wait_for

PORT = 53  # resolv.conf(5) knows no other


@pytest.fixture
def echod(public, tmp_path):
    """Yield a daemon where names are asked of a server that never answers, at an address of this process's own."""
    server = f"127.53.{os.getpid() >> 8 & 255}.{os.getpid() % 254 + 1}"
    (tmp_path / "resolv.conf").write_text(f"nameserver {server}\noptions timeout:30 attempts:1\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: dns\n")
    script = "".join(f"mount --bind {tmp_path}/{name} /etc/{name}\n" for name in ("resolv.conf", "nsswitch.conf"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute, MountNamespace(script) as namespace:
        mute.bind((server, PORT))
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


def test_a_signal_that_no_command_sent_does_not_hold_up_the_daemon(echod):
    echod.start()
    address = echod.address
    echod.write(listen=f"{address[0]}:{address[1]} new.example:0")
    pid = echod.pid
    os.kill(pid, signal.SIGHUP)
    wait_for(lambda: clients_of(pid), "the child that reads")
    os.kill(pid, signal.SIGHUP)  # for the time after it
    assert exchange(address, b"served") == b"served"
    assert clients_of(pid), "served while the child waited"
    echod.run("stop", check=0)
