from __future__ import annotations

import errno
import os
import signal

import pytest

from echod.common import reasons
from echod.common.reasons import reason_of
from echod.common.signals_table import signal_name
from support.processes import fork


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (reasons.EOF << 8, "eof"),
        (reasons.CRASHED << 8, "error=CRASHED"),
        (reasons.RESET << 8, "reset"),
        (reasons.IDLE << 8, "idle"),
        (reasons.LIFETIME << 8, "lifetime"),
        (reasons.DRAIN << 8, "drain"),
        ((reasons.ERRNO + errno.ETIMEDOUT) << 8, "error=ETIMEDOUT"),
        ((reasons.ERRNO + 190) << 8, "error=190"),
        (signal.SIGKILL, "signal=SIGKILL"),
        (signal.SIGSEGV | 0x80, "signal=SIGSEGV"),
    ],
)
def test_the_wait_status_tells_how_a_session_ended(status, reason):
    assert reason_of(status) == reason


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_error_fits_an_exit_status(number):
    pid = fork(lambda: reasons.ERRNO + number)
    assert reason_of(os.waitpid(pid, 0)[1]) == f"error={errno.errorcode[number]}"


def test_a_signal_has_its_name():
    for signum in signal.Signals:
        assert signal_name(signum) == signum.name
    assert signal_name(50) == "50"
