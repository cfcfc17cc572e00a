"""Waiting with a deadline, for events and for the tools that a test needs."""

from __future__ import annotations

import importlib
import os
import shutil
import time

import psutil
import pytest

DEADLINE = 20.0


def wait_for(condition, what="the event", deadline=DEADLINE):
    """Poll `condition` until it is true and return its value; fail the test when that takes too long."""
    end = time.monotonic() + deadline
    while not (value := condition()):
        if time.monotonic() > end:
            pytest.fail(f"waited {deadline} s in vain for {what}")
        time.sleep(0.01)
    return value


def need(tool):
    """Return the path of a program; without it the test is skipped, or fails where tools are required."""
    path = shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if path is None:
        message = f"{tool} is not installed; .ci/packages.txt lists what the tests need"
        if os.environ.get("ECHOD_REQUIRE_TOOLS"):
            pytest.fail(message)
        pytest.skip(message)
    return path


def need_module(name):
    """Return a module of the extra `test`; without it the test is skipped, or fails where tools are required."""
    if os.environ.get("ECHOD_REQUIRE_TOOLS"):
        return importlib.import_module(name)
    return pytest.importorskip(name)


def need_root():
    """Skip a test that only root can run; where tools are required, being root is, too."""
    if os.geteuid() != 0:
        if os.environ.get("ECHOD_REQUIRE_TOOLS"):
            pytest.fail("needs root")
        pytest.skip("needs root")


def alive(pid):
    """Tell whether a process is there and not a zombie: init may take its time to reap what is left to it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
