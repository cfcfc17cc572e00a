"""The daemon holds its lock and is not ready yet: commands wait for that."""

from __future__ import annotations

import subprocess

import pytest

from echod.cli.pidfile import PidFile
from support.wait import DEADLINE, need, wait_for


@pytest.mark.parametrize(
    ("command", "reply"), [("reload", "nothing changed"), ("start", "already running"), ("stop", "")]
)
def test_a_command_waits(echod, tmp_path, command, reply):
    slow = ["--trace=pwrite64", "--inject=pwrite64:delay_exit=1000000", "-o", str(tmp_path / "trace")]
    with subprocess.Popen([need("strace"), "-f", *slow, *echod.command("run")], stderr=subprocess.DEVNULL) as run:
        wait_for(lambda: PidFile(str(echod.pid_file)).holder(), "the lock")
        assert reply in echod.run(command, check=0).stdout
        if command == "start":
            assert echod.status()["state"] == "running"
        echod.run("stop", check=0)
        assert run.wait(DEADLINE) == 0
