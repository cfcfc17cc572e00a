from __future__ import annotations

import pytest

from echod.cli import control
from echod.common.errors import USAGE, EchodError


def test_settings_that_the_daemon_was_started_with_are_understood():
    control.check_overrides([], [])
    control.check_overrides(["a = 1", "pid_file=/x"], ["b=2", "a=1", "c=1\n\t2"])


@pytest.mark.parametrize(("given", "started_with"), [(["a=1"], []), (["a=1"], ["a=2"]), (["a=1", "b=2"], ["a=1"])])
def test_other_settings_are_a_usage_error(given, started_with):
    with pytest.raises(EchodError, match=f"^reload: -o {given[-1]}: ") as caught:
        control.check_overrides(given, started_with)
    assert caught.value.code == USAGE
