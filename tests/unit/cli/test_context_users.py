from __future__ import annotations

import os

import pytest

from echod.cli import context
from echod.cli.context import Paths
from echod.common.errors import NOT_PERMITTED, ConfigError, EchodError
from support.processes import NOBODY, isolated
from support.wait import need_root


def identified(*options):
    paths = Paths("/dev/null", list(options))
    return context.identify(paths, paths.load())


def test_whom_root_becomes():
    need_root()
    assert identified() == (NOBODY, NOBODY)
    assert identified("user=5") == (5, 60)
    assert identified("user=4242424") == (4242424, 4242424)  # a number needs no entry in passwd
    assert identified("user=4242424", "group=8") == (4242424, 8)
    assert identified("user=games", "group=8") == (5, 8)
    assert identified("user=root") == (-1, -1)
    assert identified("user=root", "group=mail") == (0, 8)


@pytest.mark.parametrize("option", ["user=no-such", "group=no-such", "group=4294967295", "group=99999999999"])
def test_one_that_does_not_exist_is_named_with_its_place(option):
    with pytest.raises(ConfigError, match=rf"^-o {option}: (user|group): there is no .*; allowed: "):
        identified(option)


@pytest.mark.parametrize("user", ["nobody", "65534"])
def test_a_passwd_without_nobody(monkeypatch, user):
    need_root()

    def unknown(_user):
        raise KeyError

    monkeypatch.setattr("pwd.getpwnam", unknown)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert identified(f"user={user}") == (NOBODY, NOBODY)

    def check():
        os.setresuid(5, 5, 5)
        assert identified("pid_file=/x") == (-1, -1)

    isolated(check)


def test_one_that_does_not_exist_is_named_with_file_and_line(tmp_path):
    path = tmp_path / "echod.conf"
    path.write_text("[echod]\ngroup = no-such\nuser = nobody\n")
    paths = Paths(str(path), [])
    with pytest.raises(ConfigError, match=rf"^{path}:2: group: there is no group 'no-such'; allowed: "):
        context.identify(paths, paths.load())


def test_an_ordinary_user_becomes_nobody_else():
    need_root()

    def check():
        os.setresuid(NOBODY, NOBODY, NOBODY)
        assert identified("pid_file=/x") == (-1, -1)
        with pytest.raises(EchodError, match=r"^-o user=mail: user: only root can become 'mail'; allowed: ") as caught:
            identified("pid_file=/x", "user=mail")
        assert caught.value.code == NOT_PERMITTED

    isolated(check)


def test_the_rights_of_one_user_are_taken_and_given_back():
    need_root()

    def check():
        with context.rights_of({NOBODY}), pytest.raises(PermissionError):
            os.kill(os.getppid(), 0)
        os.kill(os.getppid(), 0)
        with context.rights_of(set()):
            os.kill(os.getppid(), 0)
        for uids in ({NOBODY, 5}, {-2}):
            with pytest.raises(PermissionError), context.rights_of(uids):
                raise AssertionError
        assert os.getresuid() == (0, 0, 0)

    isolated(check)
