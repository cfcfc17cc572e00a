"""No room where the pid file is: an error of `start`, or a reload that fails; never SIGBUS."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from support.daemon import Echod, give
from support.processes import MountNamespace
from support.sockets import exchange
from support.wait import DEADLINE, wait_for


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


def fill(echod):
    """Leave no room where the pid file is."""
    words = [*echod.prefix, "sh", "-c", f"dd if=/dev/zero of={echod.home}/small/full bs=4096 2>/dev/null; true"]
    subprocess.run(words, check=True, timeout=DEADLINE)


def test_a_disk_that_fills_up_costs_no_client_and_no_more_clients_fit_than_it_has_room_for(small):
    echod = small(4096, max_children=64)
    echod.start()
    state, address = echod.status(), echod.address
    fill(echod)
    for _ in range(100):  # more than have had a slot before
        assert exchange(address, b"no room") == b"no room"
    echod.write(max_children=60000)
    assert "No space left on device" in echod.run("reload", check=1).stderr
    assert exchange(address, b"no room") == b"no room"
    after = echod.status()
    assert (after["pid"], after["max_children"], after["accepted"]) == (state["pid"], 64, state["accepted"] + 101)


def test_texts_that_have_no_room_are_neither_cut_nor_in_the_way(small):
    """A reload that would need the room fails, with the path; the texts of every other answer have theirs."""
    echod = small(4096, max_children=64)
    echod.start()
    address = echod.address
    fill(echod)
    networks = " ".join(f"10.{number // 250}.{number % 250}.1" for number in range(1400))
    echod.write(deny=networks)
    said = echod.run("reload", check=1).stderr
    assert f"{echod.pid_file}.scoreboard: No space left on device" in said
    assert "No space left on device" in echod.status()["last_reload"]
    echod.write(deny="", max_children="9" * 100_000)
    os.kill(echod.status()["pid"], signal.SIGHUP)  # the reason has the value
    wait_for(lambda: "has no room" in echod.status()["last_reload"], "the answer")
    assert "9" * 100_000 in echod.log.read_text()
    echod.write(max_children=63)
    assert echod.run("reload", check=0).stdout == "max_children: 64 -> 63\n"
    assert (echod.status()["last_reload"], echod.status()["max_children"]) == ("ok", 63)
    echod.run("upgrade", check=0)
    assert exchange(address, b"no room") == b"no room"


def test_no_room_for_the_texts_is_an_error_of_start(small):
    echod = small(160, max_children=64)
    networks = " ".join(f"2001:db8:1:2:3:4:5:{number:x}" for number in range(4000))
    done = echod.run("-o", f"deny={networks}", "start", check=1)
    assert f"{echod.pid_file}.scoreboard: No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1
    echod.run("start", check=0)
