from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import psutil
import pytest

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
