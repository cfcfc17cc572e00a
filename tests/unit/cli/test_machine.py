from __future__ import annotations

import errno
import os
import signal
import time

import pytest

from echod.cli import machine, proc
from echod.cli.machine import Handle, is_container, lacks, missing_capabilities, without_syslog
from support.processes import NOBODY, fork, isolated, reap, state
from support.wait import need_root, wait_for

# What stands for a process: a pidfd, one without pidfd_send_signal(2), /proc/PID, nothing.
MACHINES = "pidfd", "no pidfd_send_signal", "proc", "nothing"


def fail(error):
    def failing(*_args):
        raise OSError(error, os.strerror(error))

    return failing


@pytest.fixture(params=MACHINES)
def lacking(monkeypatch, request):
    """Be such a machine; return its name."""
    if request.param == "no pidfd_send_signal":
        monkeypatch.setattr(signal, "pidfd_send_signal", fail(errno.ENOSYS))
    if request.param in ("proc", "nothing"):
        monkeypatch.setattr(os, "pidfd_open", fail(errno.EPERM))
        monkeypatch.delattr(signal, "pidfd_send_signal")
    if request.param == "nothing":
        monkeypatch.setattr(proc, "ROOT", "/nonexistent")
    return request.param


@pytest.fixture
def sleeper():
    """Return the pid of a process that sleeps."""
    pid = fork(time.sleep, 60)
    yield pid
    for _ in range(2):
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            return


def is_there(pid):
    """Return True if a process runs: as a lock is held until its process ends."""
    try:
        return state(pid) != "Z"
    except (OSError, KeyError):
        return False


@pytest.mark.usefixtures("lacking")
def test_it_is_signalled_and_awaited(sleeper):
    before = os.listdir("/proc/self/fd")
    with Handle(sleeper, lambda: is_there(sleeper)) as handle:
        assert not handle.has_ended()
        assert not handle.wait(0.05)
        handle.send(signal.SIGTERM)
        assert handle.wait(None)
        assert handle.has_ended()  # as a zombie
        assert handle.wait(0)
        reap(sleeper)
        assert handle.has_ended()
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.usefixtures("lacking")
def test_one_that_has_ended_is_not_signalled(monkeypatch, sleeper):
    """Another process may have its number by now."""
    killed = []
    with Handle(sleeper, lambda: is_there(sleeper)) as handle:
        os.kill(sleeper, signal.SIGKILL)
        os.waitpid(sleeper, 0)
        monkeypatch.setattr(os, "kill", lambda *args: killed.append(args))
        with pytest.raises(ProcessLookupError):
            handle.send(signal.SIGTERM)
    assert killed == []


@pytest.mark.usefixtures("lacking")
def test_one_that_is_another_is_an_error(sleeper):
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ProcessLookupError):
        Handle(sleeper, lambda: False)
    assert os.listdir("/proc/self/fd") == before


def test_one_that_lost_the_lock_is_not_signalled(monkeypatch, sleeper):
    monkeypatch.delattr(os, "pidfd_open")
    answers = iter((True, False))
    with Handle(sleeper, lambda: next(answers)) as handle, pytest.raises(ProcessLookupError):
        handle.send(signal.SIGTERM)
    assert is_there(sleeper)


def test_without_a_descriptor_left_the_error_is_raised(monkeypatch):
    monkeypatch.setattr(os, "pidfd_open", fail(errno.EMFILE))
    with pytest.raises(OSError, match="Too many open files"):
        Handle(os.getpid(), lambda: True)


def test_the_signal_of_another_user_is_not_permitted(lacking):
    need_root()
    assert lacking

    def check():
        os.setresuid(NOBODY, NOBODY, NOBODY)
        with Handle(os.getppid(), lambda: True) as handle, pytest.raises(PermissionError):
            handle.send(signal.SIGURG)  # harmless, if it came

    isolated(check)


def test_capabilities_that_root_lacks():
    need_root()
    assert missing_capabilities("CAP_KILL", "CAP_SETUID") == []
    assert lacks("CAP_KILL") == ""

    def check():
        os.setresuid(NOBODY, NOBODY, NOBODY)
        assert missing_capabilities("CAP_KILL") == []  # a user has none, and needs none

    isolated(check)


def test_they_are_named(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(proc, "status", lambda _pid: {"CapEff": "0000000000000040"})  # CAP_SETGID
    assert lacks("CAP_SETGID") == ""
    assert lacks("CAP_SETGID", "CAP_SETUID", "CAP_KILL") == "; this root lacks CAP_SETUID, CAP_KILL"
    monkeypatch.setattr(proc, "status", fail(errno.ENOENT))
    assert lacks("CAP_SETUID") == ""


@pytest.mark.parametrize("contained", [False, True])
def test_a_syslog_that_is_missing_is_a_warning(monkeypatch, tmp_path, contained):
    file = tmp_path / "containerenv"
    monkeypatch.setattr(machine, "DEV_LOG", str(tmp_path / "log"))
    monkeypatch.setattr(machine, "CONTAINER_FILES", (str(file),))
    monkeypatch.delenv("container", raising=False)
    if contained:
        file.touch()
    assert is_container() is contained
    said = without_syslog("syslog")
    assert said.startswith(f"log = syslog, but {tmp_path}/log does not exist: ")
    assert ("log = stderr" in said) is contained
    assert without_syslog("/var/log/x") == without_syslog("stderr") == without_syslog("none") == ""
    (tmp_path / "log").symlink_to(tmp_path / "nothing")  # as /dev/log is one to journald's socket, which may be missing
    assert without_syslog("syslog") == said
    (tmp_path / "nothing").touch()
    assert without_syslog("syslog") == ""


def test_a_child_is_not_waited_for_by_looking_all_the_time(monkeypatch, sleeper):
    """Without a pidfd there is a pause between two looks."""
    monkeypatch.delattr(os, "pidfd_open")
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        os.kill(sleeper, signal.SIGKILL)

    monkeypatch.setattr(time, "sleep", pause)
    with Handle(sleeper, lambda: True) as handle:
        wait_for(lambda: handle.wait(1), "the end")
    assert pauses
    assert all(0 < seconds <= machine.LOOK_S for seconds in pauses)
