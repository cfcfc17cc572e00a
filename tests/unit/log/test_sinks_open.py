from __future__ import annotations

import os

import pytest

from echod.log.sinks import File, NoLog, Stderr, Syslog, open_sink


@pytest.mark.parametrize(("target", "kind"), [("syslog", Syslog), ("stderr", Stderr), ("none", NoLog), ("/log", File)])
def test_the_setting_names_the_kind_of_log(tmp_path, target, kind):
    before = os.listdir("/proc/self/fd")
    sink = open_sink(f"{tmp_path}{target}" if target.startswith("/") else target, "daemon")
    assert type(sink) is kind
    sink.close()
    assert os.listdir("/proc/self/fd") == before


def test_a_log_that_cannot_be_opened_is_an_error_and_leaves_no_descriptor(tmp_path):
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        open_sink(str(tmp_path / "none" / "log"), "daemon")
    assert os.listdir("/proc/self/fd") == before
