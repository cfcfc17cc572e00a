"""Words that echod does not have are in test_habits.py."""

from __future__ import annotations

import pytest

from echod.cli import help as help_command
from echod.cli import main
from echod.cli.words import has_command, option_of, sub_parser
from echod.common.config.settings import SETTINGS


@pytest.mark.parametrize(
    ("words", "has"),
    [
        ([], False),
        (["-c", "start"], False),
        (["start"], True),
        (["-o", "a=1", "stop", "--force"], True),
        (["-V"], True),
    ],
)
def test_a_command_is_found_behind_the_options(words, has):
    assert has_command(words, main.parser(), main.COMMANDS) == has


def test_an_option_is_found_in_each_of_its_forms():
    stop = sub_parser("stop", main.parser(), main.COMMANDS)
    assert {option_of(word, stop).dest for word in ("--timeout", "--timeout=3", "--time")} == {"timeout"}
    assert option_of("-x", stop) is None


def test_what_is_said_of_a_setting():
    said = list(help_command.setting_help(SETTINGS["umask"]))
    assert said[0] == SETTINGS["umask"].help
    assert "reload   needs a restart" in said
