"""Started by root with a config that the daemon's user may not read: every reload would fail, so a start warns."""

from __future__ import annotations

import os
import signal

import pytest

from support.daemon import Echod
from support.wait import DEADLINE, need_root


@pytest.fixture
def secret(echod):
    need_root()
    os.chown(echod.config, 0, 0)
    echod.config.chmod(0o600)
    return echod


def warned(echod, stderr):
    """See that one line names the user, the file and the way out."""
    (line,) = [line for line in stderr.splitlines() if "for user" in line]
    assert f"{echod.config}: Permission denied for user nobody" in line
    assert line.endswith(
        ", so a reload would fail; keep the config where user nobody can read it, such as /etc/echod.conf with mode 644"
    )


def test_start_restart_and_check_warn(secret: Echod):
    for command in ("check", "start", "restart"):
        warned(secret, secret.run(command, check=0).stderr)
    secret.config.chmod(0o644)
    for command in ("check", "restart"):
        assert "for user" not in secret.run(command, check=0).stderr


def test_run_warns(secret: Echod, tmp_path):
    with open(tmp_path / "stderr", "w+") as stderr:
        process = secret.foreground(stderr=stderr)
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 0
        stderr.seek(0)
        warned(secret, stderr.read())
