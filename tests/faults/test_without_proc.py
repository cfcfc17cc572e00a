"""No /proc, as in a bare chroot: it starts and serves; who cannot do without it says so in one line."""

from __future__ import annotations

import pytest

from support.daemon import Echod
from support.processes import MountNamespace
from support.sockets import exchange


@pytest.fixture
def bare(public):
    """Yield an echod in a mount namespace with an empty /proc."""
    with MountNamespace("mount -t tmpfs none /proc") as namespace:
        daemon = Echod(public, prefix=namespace.prefix)
        yield daemon
        daemon.cleanup()


def test_it_serves_and_every_command_works(bare):
    bare.start(max_children_per_source=5)
    assert exchange(bare.address, b"x" * 100_000) == b"x" * 100_000
    assert bare.status()["accepted"] == 1
    assert "already running" in bare.run("start", check=0).stdout
    bare.write(max_children=7)
    assert "max_children" in bare.run("reload", check=0).stdout
    bare.run("reopen", check=0)
    bare.run("check", check=0)
    assert "/stat: No such file" in bare.run("status", "--processes", check=4).stdout
    bare.run("restart", check=0)
    assert exchange(bare.address, b"again") == b"again"
    bare.run("stop", check=0)
    assert bare.run("status").returncode == 3
    assert not bare.events("crash")
