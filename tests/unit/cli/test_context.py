from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from echod.cli.context import Paths, board_path, default_path
from echod.common.errors import ConfigError
from support.processes import NOBODY, isolated
from support.wait import need_root


def test_no_two_pid_files_share_a_scoreboard():
    assert board_path("/run/echod/echod.pid") == "/run/echod/echod.pid.scoreboard"
    assert board_path("/run/x") != board_path("/run/x.pid")


def test_a_broken_config_still_names_the_pid_file(tmp_path):
    config = tmp_path / "echod.conf"
    config.write_text(f"[echod]\npid_file = {tmp_path}/a.pid\nuser = mail\nnonsense\n")
    assert Paths(str(config), []).pid_file == f"{tmp_path}/a.pid"
    assert Paths(str(config), [f"pid_file={tmp_path}/b.pid"]).pid_file == f"{tmp_path}/b.pid"
    with pytest.raises(ConfigError, match=f"^{config}:4: "):
        Paths(str(config), []).load()


def test_a_setting_has_an_origin(tmp_path):
    config = tmp_path / "echod.conf"
    config.write_text("[echod]\nuser = mail\n")
    assert Paths(str(config), []).origin("user") == f"{config}:2: "
    assert Paths(str(config), ["user=news"]).origin("user") == "-o user=news: "
    assert Paths(str(config), []).origin("group") == ""


@pytest.fixture
def directory():
    """Return a directory that every user can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="echod-test-") as path:
        os.chmod(path, 0o755)
        yield Path(path)


def test_the_default_place_is_the_users_own(monkeypatch, directory):
    def check():
        assert default_path() == "/run/echod/echod.pid" or os.geteuid()
        with monkeypatch.context() as service:
            service.setenv("RUNTIME_DIRECTORY", "/run/second")
            assert default_path() == "/run/second/echod.pid"
        if os.geteuid() == 0:
            os.chown(directory, NOBODY, NOBODY)
            os.chdir(directory)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        monkeypatch.setattr("echod.cli.context.home_of", lambda _uid: os.getcwd())
        own = f"{os.getcwd()}/.local/state/echod/echod.pid"
        assert default_path() == own
        for value in ("", "/run/a:/run/b", "a"):
            monkeypatch.setenv("RUNTIME_DIRECTORY", value)
            assert default_path() == own
        monkeypatch.delenv("RUNTIME_DIRECTORY")
        os.mkdir(".local", 0o500)
        monkeypatch.setattr("echod.cli.context.TEMPORARY", ".")
        made = f"./echod-{os.geteuid()}"
        for _ in range(2):
            assert default_path() == f"{made}/echod.pid"
            assert os.stat(made).st_mode & 0o777 == 0o700
        os.chmod(made, 0o755)
        with pytest.raises(ConfigError, match="belongs to someone else or is open to others"):
            default_path()
        os.rmdir(made)
        os.symlink(".", made)
        with pytest.raises(ConfigError):
            default_path()

    monkeypatch.setenv("XDG_RUNTIME_DIR", "/elsewhere")  # a login has it, and cron does not
    monkeypatch.setenv("HOME", "/elsewhere")  # su may leave it
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    monkeypatch.chdir(directory)
    isolated(check)


@pytest.mark.parametrize("home", ["/", "/nonexistent", "/usr/games", "/tmp", ""])
def test_a_home_that_is_not_the_users_own_is_not_used(monkeypatch, tmp_path, home):
    need_root()

    def check():
        os.chown(tmp_path, NOBODY, NOBODY)
        os.chdir(tmp_path)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        monkeypatch.setattr("echod.cli.context.home_of", lambda _uid: home)
        monkeypatch.setattr("echod.cli.context.TEMPORARY", ".")
        assert default_path() == f"./echod-{NOBODY}/echod.pid"

    isolated(check)


def test_status_is_that_of_roots_daemon_if_the_user_has_none(monkeypatch, directory):
    need_root()
    roots = directory / "roots.pid"
    roots.write_text("")
    monkeypatch.setattr("echod.cli.context.ROOTS_PID_FILE", str(roots))
    monkeypatch.setattr("echod.cli.context.home_of", lambda _uid: str(directory / "home"))
    (directory / "home").mkdir()
    os.chown(directory / "home", NOBODY, NOBODY)
    own = directory / "home" / ".local" / "state" / "echod" / "echod.pid"

    def check():
        os.chdir(directory)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        assert Paths("/dev/null", []).pid_file == str(own)
        assert Paths("/dev/null", []).with_roots_daemon().pid_file == str(roots)
        assert Paths("/dev/null", []).with_roots_daemon().board_file == board_path(str(roots))
        assert Paths("/dev/null", ["pid_file=/x"]).with_roots_daemon().pid_file == "/x"
        own.parent.mkdir(parents=True)
        own.write_text("1\n")
        assert Paths("/dev/null", []).with_roots_daemon().pid_file == str(own)

    isolated(check)


def test_the_file_is_read_once(tmp_path):
    config = tmp_path / "echod.conf"
    config.write_text(f"[echod]\nbacklog = 7\npid_file = {tmp_path}/pid\n")
    paths = Paths(str(config), [])
    config.write_text("nonsense\n")
    assert paths.load().backlog == paths.load().backlog == 7
