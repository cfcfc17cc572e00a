"""Time limits beyond what poll(2) takes, 2^31 milliseconds."""

from __future__ import annotations

import subprocess

import pytest

from support.wait import DEADLINE, wait_for


@pytest.mark.parametrize(("words", "drain"), [(["--timeout", "3000000"], "5s"), ([], "720h")])
def test_stop_waits(echod, words, drain):
    echod.start(drain_timeout=drain)
    with echod.connect() as conn:
        conn.sendall(b"x")
        assert conn.recv(1) == b"x"
        (child,) = echod.children()
        child.suspend()
        with subprocess.Popen(echod.command("stop", *words), stderr=subprocess.PIPE, text=True) as stop:
            wait_for(lambda: echod.events("drain"), "the drain")
            child.resume()
            assert stop.wait(DEADLINE) == 0, stop.stderr.read()


@pytest.mark.parametrize("seconds", ["1e12", "-1", "nan", "inf", "soon"])
def test_what_is_no_timeout_is_a_usage_error(echod, seconds):
    assert "--timeout" in echod.run("stop", f"--timeout={seconds}", check=2).stderr
