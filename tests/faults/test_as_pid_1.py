"""The daemon is the first process of a PID namespace, as in a container: every command finds it."""

from __future__ import annotations

import subprocess

import psutil
import pytest

from support.daemon import Echod
from support.wait import DEADLINE, need, need_root, wait_for


@pytest.fixture
def container(public):
    need_root()
    echod = Echod(public)
    command = [need("unshare"), "--pid", "--fork", "--kill-child", "--mount-proc", *echod.command("run")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        (first,) = wait_for(psutil.Process(process.pid).children, "the first process")
        echod.prefix = [need("nsenter"), "--target", str(first.pid), "--pid", "--mount", "--root", "--"]
        wait_for(echod.status_or_none, "echod run")
        yield echod, process
        process.kill()
        process.wait(DEADLINE)


def test_every_command_finds_it(container):
    echod, process = container
    assert echod.status()["pid"] == 1
    echod.run("reload", check=0)
    echod.run("reopen", check=0)
    assert "already running, pid 1" in echod.run("start", check=0).stdout
    echod.run("stop")  # it ends with the namespace
    assert process.wait(DEADLINE) == 0
