"""No room where the pid file is: an error of `start`, or a reload that fails; never SIGBUS."""

from __future__ import annotations

import subprocess

import pytest

from support.daemon import Echod, give
from support.processes import MountNamespace
from support.sockets import exchange
from support.wait import DEADLINE


@pytest.fixture
def small(public):
    """Return a function that makes a daemon, not started, whose pid file is on a file system of so many KiB."""
    spaces: list[MountNamespace] = []
    daemons: list[Echod] = []

    def small(size, **settings):
        at = public / "small"
        at.mkdir()
        give(at)
        space = MountNamespace(f"mount -t tmpfs -o size={size}k,mode=1777 small {at}")
        space.__enter__()
        spaces.append(space)
        echod = Echod(public, prefix=space.prefix, **settings)
        echod.write(pid_file=at / "echod.pid")
        echod.pid_file = at / "echod.pid"
        daemons.append(echod)
        return echod

    yield small
    for echod in daemons:
        echod.cleanup()
    for space in spaces:
        space.__exit__()


def test_no_room_for_the_scoreboard_is_an_error_of_start(small):
    echod = small(24)
    done = echod.run("start", check=1)
    assert "No space left on device" in done.stderr
    assert str(echod.home / "small") in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_disk_that_fills_up_costs_no_client_and_no_more_clients_fit_than_it_has_room_for(small):
    echod = small(4096, max_children=64)
    echod.start()
    state, address = echod.status(), echod.address
    fill = [*echod.prefix, "sh", "-c", f"dd if=/dev/zero of={echod.home}/small/full bs=4096 2>/dev/null; true"]
    subprocess.run(fill, check=True, timeout=DEADLINE)
    for _ in range(100):  # more than have had a slot before
        assert exchange(address, b"no room") == b"no room"
    echod.write(max_children=60000)
    assert "No space left on device" in echod.run("reload", check=1).stderr
    assert exchange(address, b"no room") == b"no room"
    after = echod.status()
    assert (after["pid"], after["max_children"], after["accepted"]) == (state["pid"], 64, state["accepted"] + 101)
