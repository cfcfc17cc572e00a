from __future__ import annotations

import os

import pytest

from echod.common.errors import EchodError
from echod.log.sinks import File, NoLog, Stderr, Syslog, open_log


@pytest.mark.parametrize(("target", "kind"), [("syslog", Syslog), ("stderr", Stderr), ("none", NoLog), ("/log", File)])
def test_the_setting_names_the_kind_of_log(tmp_path, target, kind):
    before = os.listdir("/proc/self/fd")
    sink = open_log(f"{tmp_path}{target}" if target.startswith("/") else target, "daemon")
    assert type(sink) is kind
    sink.close()
    assert os.listdir("/proc/self/fd") == before


def test_a_log_that_cannot_be_opened_is_an_error_and_leaves_no_descriptor(tmp_path):
    before = os.listdir("/proc/self/fd")
    with pytest.raises(
        EchodError,
        match=r"^cannot open the log: .*/none/log: No such file or directory for user .* makes the directory$",
    ):
        open_log(str(tmp_path / "none" / "log"), "daemon")
    assert os.listdir("/proc/self/fd") == before
