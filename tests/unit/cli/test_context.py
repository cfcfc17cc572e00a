from __future__ import annotations

import os

import pytest

from echod.cli.context import Paths, board_path, default_path
from echod.common.errors import ConfigError
from support.processes import NOBODY, isolated


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


def test_the_default_place_is_the_users_own(monkeypatch, tmp_path):
    def check():
        assert default_path() == "/run/echod/echod.pid" or os.geteuid()
        if os.geteuid() == 0:
            os.chown(tmp_path, NOBODY, NOBODY)
            os.chdir(tmp_path)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        assert default_path() == str(tmp_path / "echod" / "echod.pid")
        del os.environ["XDG_RUNTIME_DIR"]
        monkeypatch.setattr("tempfile.tempdir", ".")
        directory = f"./echod-{os.geteuid()}"
        for _ in range(2):
            assert default_path() == f"{directory}/echod.pid"
            assert os.stat(directory).st_mode & 0o777 == 0o700
        os.chmod(directory, 0o755)
        with pytest.raises(ConfigError, match="belongs to someone else or is open to others"):
            default_path()
        os.rmdir(directory)
        os.symlink(".", directory)
        with pytest.raises(ConfigError):
            default_path()

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    isolated(check)


def test_the_file_is_read_once(tmp_path):
    config = tmp_path / "echod.conf"
    config.write_text(f"[echod]\nbacklog = 7\npid_file = {tmp_path}/pid\n")
    paths = Paths(str(config), [])
    config.write_text("nonsense\n")
    assert paths.load().backlog == paths.load().backlog == 7
