"""`reload` of what a reload cannot do: it says so before the daemon is asked."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("words", [["-o", "max_children=3"], ["-o", "log_level=error", "-o", "listen=127.0.0.1:0"]])
def test_a_setting_that_the_daemon_was_not_started_with(echod, words):
    echod.run("-o", "log_level=error", "start", check=0)
    done = echod.run(*words, "reload", check=2)
    assert words[-1] in done.stderr
    assert "restart" in done.stderr
    assert echod.status()["generation"] == 1


def test_settings_that_it_was_started_with(echod):
    words = ["-o", "log_level=error", "-o", "max_children=3"]
    echod.run(*words, "start", check=0)
    echod.run(*words, "reload", check=0)
    echod.run("-o", " max_children = 3", "-o", f"pid_file={echod.pid_file}", "reload", check=0)
    assert echod.status()["generation"] == 3
