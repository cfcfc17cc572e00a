from __future__ import annotations

import os
from argparse import Namespace

import pytest

from echod.cli.check.command import check, group_name, listing
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
    assert [line.split(" =")[0] for line in out.splitlines()[2:]] == list(SETTINGS)
    assert "max_children = 9 " in out


def test_a_warning_is_a_line_on_stderr_and_strict_makes_it_a_failure(run):
    warned = "echod: warning: listen: 192.0.2.1:7777: Cannot assign requested address; no interface has this address, "
    for strict in (False, True):
        code, out, err = run("listen=192.0.2.1:7777", strict=strict)
        assert code == int(strict)
        assert out.startswith("# no daemon runs; `echod start` would start this one\n[echod]\n")
        assert any(line.startswith(warned) for line in err.splitlines())


def test_an_explanation_is_all_that_is_printed(run):
    code, out, _ = run("deny=192.0.2.0/24", explain="192.0.2.7")
    assert code == 0
    assert out.startswith(
        "daemon   no daemon runs; `echod start` would start this one\n"
        "peer     192.0.2.7\nrule     deny 192.0.2.0/24 (-o)\n"
    )
    assert out.endswith("\nverdict  refused: access\n")


def test_a_config_that_is_bad(tmp_path):
    with pytest.raises(ConfigError):
        check(Namespace(config=f"{tmp_path}/missing", options=["pid_file=/x"], explain=None, strict=False))


def test_every_setting_with_its_value_and_its_origin(subject, public):
    name, head, *lines = listing(subject("max_children=9", text="[echod]\nidle_timeout = 60s\n"))
    assert (name, head) == ("# no daemon runs; `echod start` would start this one", "[echod]")
    values, origins = zip(*(line.split(" # ") for line in lines), strict=True)
    found = dict(line.split(" =") for line in values)
    assert list(found) == list(SETTINGS)
    assert (found["max_children"].strip(), found["idle_timeout"].strip()) == ("9", "1min")
    assert found["pid_file"].strip() == f"{public}/e.pid"
    if os.geteuid() == 0:
        assert (found["user"].strip(), found["group"].strip()) == ("nobody", "nogroup")
    by_name = dict(zip(found, origins, strict=True))
    assert (by_name["max_children"], by_name["idle_timeout"], by_name["deny"]) == (
        "-o",
        f"{public}/echod.conf:2",
        "default",
    )


def test_a_group_without_a_name_is_a_number():
    assert group_name(0) == "root"
    assert group_name(4000000000) == "4000000000"
