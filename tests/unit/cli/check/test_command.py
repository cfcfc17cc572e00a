from __future__ import annotations

from argparse import Namespace

import pytest

from echod.cli.check.command import check
from echod.common.config.settings import SETTINGS
from echod.common.errors import ConfigError


def test_the_settings_that_would_be_in_force(tmp_path, capsys):
    config = tmp_path / "echod.conf"
    config.write_text("[echod]\nmax_children = 7\nidle_timeout = 60s\n")
    config.chmod(0o644)
    assert check(Namespace(config=str(config), options=["max_children=9", f"pid_file={tmp_path}/e.pid"])) == 0
    lines = dict(line.split(" =", 1) for line in capsys.readouterr().out.splitlines())
    assert list(lines) == list(SETTINGS)
    assert (lines["max_children"], lines["idle_timeout"], lines["pid_file"]) == (" 9", " 1min", f" {tmp_path}/e.pid")


def test_a_config_that_is_bad(tmp_path):
    with pytest.raises(ConfigError):
        check(Namespace(config=f"{tmp_path}/missing", options=["pid_file=/x"]))
