from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from echod.echoc.processes import forked

if TYPE_CHECKING:
    from support.kinds import Eventually, StartEchoc


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)])
def test_ended_by_a_signal_leaves_no_sender(
    start_echoc: StartEchoc, echo_server: tuple[str, int], eventually: Eventually, number: int, code: int
) -> None:
    process = start_echoc(*echo_server)
    process.stdin.write(b"ping")
    assert process.stdout.read(4) == b"ping"
    sender = psutil.Process(process.pid).children()[0]
    process.send_signal(number)
    assert process.wait(timeout=60) == code
    eventually(lambda: not sender.is_running() or sender.status() == psutil.STATUS_ZOMBIE)


def test_the_child_runs_and_is_gone_after_the_block() -> None:
    reading, writing = os.pipe()
    with forked(lambda: os.write(writing, str(os.getpid()).encode())):
        pid = int(os.read(reading, 100))
        assert pid != os.getpid()
        assert psutil.Process(pid).ppid() == os.getpid()
    assert not psutil.pid_exists(pid)
    for descriptor in (reading, writing):
        os.close(descriptor)


def test_a_child_that_goes_on_is_killed_and_one_that_is_finishing_is_waited_for() -> None:
    reading, writing = os.pipe()
    with forked(lambda: os.read(reading, 1)):  # for ever: killed
        pass
    with forked(lambda: (os.read(reading, 1), os.write(writing, b"done")), finished=lambda: True):
        os.write(writing, b"x")
    assert os.read(reading, 4) == b"done"
    for descriptor in (reading, writing):
        os.close(descriptor)


def test_signals_reach_the_parent_as_before() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with forked(signal.pause):
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_a_bug_in_the_child_is_not_silent(capfd: pytest.CaptureFixture[str]) -> None:
    with forked(lambda: 1 // 0, finished=lambda: True):
        pass
    assert "ZeroDivisionError" in capfd.readouterr().err
