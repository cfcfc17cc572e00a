from __future__ import annotations

import os

import pytest

from echod.cli import control
from echod.cli.daemon import BOOT
from echod.common.errors import FAILED, USAGE, EchodError


def test_settings_that_the_daemon_was_started_with_are_understood():
    control.check_overrides([], [])
    control.check_overrides(["a = 1", "pid_file=/x"], ["b=2", "a=1", "c=1\n\t2"])
    control.check_overrides(["a=\t1, 2"], ["", "=", "b", " = ", "c=\n\x1b", "a=\t1, 2"])  # some are forged


@pytest.mark.parametrize(("given", "started_with"), [(["a=1"], []), (["a=1"], ["a=2"]), (["a=1", "b=2"], ["a=1"])])
def test_other_settings_are_a_usage_error(given, started_with):
    with pytest.raises(EchodError, match=f"^reload: -o {given[-1]}: ") as caught:
        control.check_overrides(given, started_with)
    assert caught.value.code == USAGE


@pytest.mark.parametrize("theirs", ["/other/echod/server/boot.py", "", "/\0", "x" * 10_000])
def test_an_upgrade_to_another_installation_is_refused(theirs):
    ours = BOOT.removesuffix("/server/boot.py")
    with pytest.raises(EchodError, match=r"; use restart$") as caught:
        control.check_installation(1, theirs)
    assert str(caught.value).startswith(f"process 1 executes {theirs.removesuffix('/server/boot.py')}, and this ")
    assert f"command belongs to {ours};" in str(caught.value)
    assert caught.value.code == FAILED


def test_an_upgrade_to_the_same_installation_is_not(tmp_path):
    control.check_installation(os.getpid(), BOOT)
    (tmp_path / "link").symlink_to(os.path.dirname(BOOT))
    control.check_installation(os.getpid(), str(tmp_path / "link" / "boot.py"))


def test_a_process_that_has_ended_has_no_ids():
    assert control.ids_of(os.getpid()) == (os.geteuid(), os.getegid())
    assert control.ids_of(1 << 30) == (-1, -1)
