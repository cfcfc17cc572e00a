from __future__ import annotations

from argparse import Namespace

import pytest

from echod.cli.check.command import check
from echod.common.config.settings import SETTINGS
from echod.common.errors import ConfigError


@pytest.fixture
def run(tmp_path, capsys):
    """Return a function that runs `check` with these options; it returns the exit code, stdout and stderr."""
    config = tmp_path / "echod.conf"
    config.write_text("[echod]\nlisten = 127.0.0.1:0\nlog = none\nbacklog = 1\n")

    def run(*options, explain=None, strict=False):
        given = [f"pid_file={tmp_path}/e.pid", *options]
        code = check(Namespace(config=str(config), options=given, explain=explain, strict=strict))
        return code, *capsys.readouterr()

    return run


def test_the_settings_that_would_be_in_force(run):
    code, out, _ = run("max_children=9")
    assert code == 0
    assert [line.split(" =")[0] for line in out.splitlines()[1:]] == list(SETTINGS)
    assert "max_children = 9 " in out


def test_a_warning_is_a_line_on_stderr_and_strict_makes_it_a_failure(run):
    warned = "echod: warning: listen: 192.0.2.1:7777: no interface has this address; `ip address add 192.0.2.1 dev "
    for strict in (False, True):
        code, out, err = run("listen=192.0.2.1:7777", strict=strict)
        assert code == int(strict)
        assert out.startswith("[echod]\n")
        assert any(line.startswith(warned) for line in err.splitlines())


def test_an_explanation_is_all_that_is_printed(run):
    code, out, _ = run("deny=192.0.2.0/24", explain="192.0.2.7")
    assert code == 0
    assert out.startswith("peer     192.0.2.7\nrule     deny 192.0.2.0/24 (-o)\n")
    assert out.endswith("\nverdict  refused: access\n")


def test_a_config_that_is_bad(tmp_path):
    with pytest.raises(ConfigError):
        check(Namespace(config=f"{tmp_path}/missing", options=["pid_file=/x"], explain=None, strict=False))
