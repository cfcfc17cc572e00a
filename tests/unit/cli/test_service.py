from __future__ import annotations

import os
import subprocess

import pytest

from echod.cli import proc, service
from echod.cli.context import Paths
from echod.common.errors import EchodError
from support.wait import need_root


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
        "restart: process 4711 is managed by systemd (echod.service); use `systemctl restart echod.service`"
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


SHOWN = """\
LoadState=loaded
ExecStart={ path=/usr/bin/echod ; argv[]=/usr/bin/echod -o pid_file=/run/echod/echod.pid run ; pid=0 }
User=
DynamicUser=yes
LogsDirectory=echod
RuntimeDirectory=echod
StateDirectory=
TasksMax=288
LimitNPROCSoft=18446744073709551615
LimitNOFILESoft=infinity
"""


@pytest.fixture
def shown(systemctl, tmp_path, monkeypatch):
    """Return a function that says what `systemctl show` prints of the unit, on a machine that systemd has booted."""
    monkeypatch.setattr(service, "BOOTED", str(tmp_path))

    def say(text=SHOWN):
        (tmp_path / "shown").write_text(text)
        systemctl(f"cat {tmp_path}/shown")

    say()
    return say


def paths(config=None, pid_file="/run/echod/echod.pid"):
    return Paths(config, [f"pid_file={pid_file}"])


def test_the_unit_that_is_installed(shown):
    need_root()
    unit = service.Unit.installed(paths())
    assert unit.options == ["pid_file=/run/echod/echod.pid"]
    assert unit.identity() == ("echod", service.NO_RIGHTS, service.NO_RIGHTS)
    assert unit.makes("/var/log/echod/echod.log")
    assert not unit.makes("/var/log/echod.log")
    assert unit.limit("TasksMax") == 288
    assert unit.limit("LimitNPROCSoft") is unit.limit("LimitNOFILESoft") is None
    shown(SHOWN.replace("User=\nDynamicUser=yes", "User=daemon\nDynamicUser=no"))
    assert service.Unit.installed(paths()).identity()[0] == "daemon"
    shown(SHOWN.replace("DynamicUser=yes", "DynamicUser=no"))
    assert service.Unit.installed(paths()).identity() == ("root", 0, 0)


def test_a_unit_is_not_meant(shown, monkeypatch):
    need_root()
    assert service.Unit.installed(paths("/etc/other.conf")) is None
    assert service.Unit.installed(paths(pid_file="/run/other.pid")) is None
    shown(SHOWN.replace("=loaded", "=not-found"))
    assert service.Unit.installed(paths()) is None
    shown("")
    assert service.Unit.installed(paths()) is None
    shown()
    monkeypatch.setattr(service, "BOOTED", "/nowhere")
    assert service.Unit.installed(paths()) is None
    monkeypatch.setattr(service, "BOOTED", "/")
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    assert service.Unit.installed(paths()) is None, "an ordinary user's daemon is not the unit's"


def test_the_options_of_a_command_line():
    line = "{ path=/x ; argv[]=/x -c /etc/a.conf -o pid_file=/p -o log=none run ; ignore_errors=no }"
    assert service.options_of(line) == (["pid_file=/p", "log=none"], "/etc/a.conf")
    assert service.options_of("") == ([], "")
