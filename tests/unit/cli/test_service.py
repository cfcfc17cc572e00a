from __future__ import annotations

import os
import subprocess

import pytest

from echod.cli import proc, service
from echod.common.errors import EchodError


@pytest.fixture
def cgroup(monkeypatch):
    """Return a function that says what every /proc/PID/cgroup holds."""

    def say(text):
        monkeypatch.setattr(proc, "read", lambda _pid, _name: text)

    return say


@pytest.fixture
def systemctl(tmp_path, monkeypatch):
    """Return a function that makes a systemctl, a shell script."""

    def make(script):
        path = tmp_path / "systemctl"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    return make


SYSTEM = "4:memory:/else.service\n1:name=systemd:/system.slice/echod.service\n0::/system.slice/echod.service\n"


@pytest.mark.parametrize(
    ("text", "unit", "user"),
    [
        (SYSTEM, "echod.service", False),
        ("0::/system.slice/echod.service\n", "echod.service", False),
        ("0::/user.slice/user-7.slice/user@7.service/app.slice/echod.service\n", "echod.service", True),
        ("0::/user.slice/user-7.slice/session-2.scope\n", "", False),
        ("0::/\n", "", False),
        ("4:memory:/else.service\n", "", False),
    ],
)
def test_the_unit_is_the_cgroups(cgroup, text, unit, user):
    cgroup(text)
    assert service.unit_of(4711) == (unit, user)


def test_no_process_has_no_unit():
    assert service.unit_of(2**22 + 1) == ("", False)


def test_the_main_process_is_systemds(cgroup, systemctl):
    cgroup(SYSTEM)
    systemctl('test "$*" = "show --property=MainPID --value -- echod.service" && echo 4711')
    with pytest.raises(EchodError) as caught:
        service.leave_to_systemd(4711, "restart")
    assert str(caught.value) == (
        "restart: process 4711 is systemd's echod.service; use `systemctl restart echod.service`"
    )


def test_a_users_manager_is_another(cgroup, systemctl):
    cgroup("0::/user.slice/user-7.slice/user@7.service/app.slice/echod.service\n")
    systemctl('test "$1" = --user && echo 4711')
    with pytest.raises(EchodError, match=r"`systemctl --user stop echod\.service`"):
        service.leave_to_systemd(4711, "stop")


@pytest.mark.parametrize("script", ["echo 1", "exit 1", "echo none", "exec /nowhere"])
def test_any_other_process_of_a_service_is_not(cgroup, systemctl, script):
    """cron's jobs are in cron's cgroup."""
    cgroup(SYSTEM)
    systemctl(script)
    service.leave_to_systemd(4711, "stop")


def test_no_systemctl_says_nothing(cgroup, monkeypatch):
    cgroup(SYSTEM)
    monkeypatch.setenv("PATH", "/nowhere")
    service.leave_to_systemd(4711, "stop")


def test_a_systemctl_that_hangs_says_nothing(cgroup, monkeypatch):
    def hang(*_args, timeout, **_kwargs):
        raise subprocess.TimeoutExpired("systemctl", timeout)

    cgroup(SYSTEM)
    monkeypatch.setattr(subprocess, "run", hang)
    service.leave_to_systemd(4711, "stop")
