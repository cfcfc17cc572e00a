"""Waiting with a deadline, for events and for the tools that a test needs."""

from __future__ import annotations

import functools
import importlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from support.packages import PACKAGE_OF_TOOL, find

DEADLINE = 20.0


def wait_for(condition, what="the event", deadline=DEADLINE):
    """Poll `condition` until it is true and return its value; fail the test when that takes too long."""
    end = time.monotonic() + deadline
    while not (value := condition()):
        if time.monotonic() > end:
            pytest.fail(f"waited {deadline} s in vain for {what}")
        time.sleep(0.01)
    return value


def skip(what) -> NoReturn:
    """Skip the test because the machine lacks something that no package brings, such as "IPv6"."""
    pytest.skip(f"needs {what}")


def lack(what) -> NoReturn:
    """Skip the test because something is not installed; where all is required, as in CI, fail it."""
    if os.environ.get("ECHOD_REQUIRE_TOOLS"):
        pytest.fail(f"needs {what}")
    skip(what)


def need(tool):
    """Return the path of a program or file that `support.packages` names a package for."""
    assert tool in PACKAGE_OF_TOOL, f"{tool}: name its package in tests/support/packages.py"
    return find(tool) or lack(tool)


def need_module(name):
    """Return a module of the extra `test`."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        lack(f"module {name}")


def need_root():
    """Skip a test that only root can run."""
    if os.geteuid() != 0:
        lack("root")


def need_localhost():
    """Skip a test that connects to a name on a machine whose /etc/hosts does not have it, such as a new chroot."""
    try:
        socket.getaddrinfo("localhost", None)
    except socket.gaierror:
        skip("localhost in /etc/hosts")


@functools.cache
def has_network():
    """Return True if this machine has a route to others and pip gets a package from its index."""
    if "00000000" not in [line.split()[1] for line in Path("/proc/net/route").read_text().splitlines()]:
        return False
    words = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--retries=0",
        "--no-deps",
        "--no-cache-dir",
        "hatchling",
    ]
    with tempfile.TemporaryDirectory() as directory:
        return subprocess.run([*words, "--dest", directory], capture_output=True).returncode == 0


def need_network():
    """Skip a test that installs packages."""
    if not has_network():
        lack("a network")


def alive(pid):
    """Tell whether a process is there and not a zombie: init may take its time to reap what is left to it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
