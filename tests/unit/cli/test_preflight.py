from __future__ import annotations

import errno
import os
import socket

import pytest

from echod.cli import preflight
from echod.cli.context import Paths
from echod.cli.daemon import Daemon
from echod.common.bind_errors import BindError
from echod.common.errors import EchodError
from support.wait import need_root


def prepared(*options, uid=-1):
    paths = Paths("/dev/null", list(options))
    return paths.load(), paths.launch((uid, uid))


def test_nothing_fails_where_all_is_well(tmp_path):
    assert preflight.attempt(*prepared(f"log={tmp_path}/log")) == {}
    assert not (tmp_path / "log").exists()
    (tmp_path / "log").write_text("")
    assert preflight.attempt(*prepared(f"log={tmp_path}/log")) == {}
    assert preflight.attempt(*prepared("log=syslog")) == {}


def test_a_log_and_a_config_are_opened_as_the_user(tmp_path):
    need_root()
    tmp_path.chmod(0o700)
    config, launch = prepared(f"log={tmp_path}/log", uid=65534)
    launch = launch.replace(config_file=str(tmp_path / "echod.conf"))
    (tmp_path / "echod.conf").write_text("")
    failed = preflight.attempt(config, launch)
    assert failed == {
        name: f"{tmp_path}/{file}: Permission denied" for name, file in (("log", "log"), ("config", "echod.conf"))
    }
    with pytest.raises(EchodError, match=r"^cannot open the log: .*Permission denied"):
        preflight.check_start(config, launch, Running())


def test_a_log_in_a_directory_that_is_not_there(tmp_path):
    path = f"{tmp_path}/none/log"
    assert preflight.attempt(*prepared(f"log={path}")) == {"log": f"{path}: No such file or directory"}


class Running(Daemon):
    """A daemon that listens on addresses, as the scoreboard has them."""

    def __init__(self, names=()):
        self.pid = 0
        self._names = names

    def names(self):
        return list(self._names)


def test_an_address_that_is_taken_fails_unless_the_daemon_holds_it(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        name = f"127.0.0.1:{taken.getsockname()[1]}"
        config, launch = prepared(f"listen={name}", "log=syslog", f"pid_file={tmp_path}/pid")
        preflight.check_start(config, launch, Running([name]))
        with pytest.raises(BindError, match="in use"):
            preflight.check_start(config, launch, Running())


def test_a_directory_that_is_not_there(tmp_path):
    config, launch = prepared("directory=/nonexistent", "listen=127.0.0.1:0", f"pid_file={tmp_path}/pid")
    with pytest.raises(EchodError, match=r"^cannot change to the directory: /nonexistent: No such file"):
        preflight.check_start(config, launch, Running())


def test_room_for_the_scoreboard_is_tried_and_given_back(tmp_path):
    preflight.check_room(f"{tmp_path}/board", 65536)
    assert os.listdir(tmp_path) == []
    with pytest.raises(EchodError, match="No such file or directory"):
        preflight.check_room(f"{tmp_path}/none/board", 1)
    (tmp_path / "board").mkdir()
    with pytest.raises(EchodError, match="Is a directory"):
        preflight.check_room(f"{tmp_path}/board", 1)


def test_no_room_for_the_scoreboard(tmp_path, monkeypatch):
    def full(_fd, _at, size):
        if size > 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("echod.common.machine.os.posix_fallocate", full)
    preflight.check_room(f"{tmp_path}/board", 100)
    with pytest.raises(EchodError, match="No space left on device; it needs room for max_children"):
        preflight.check_room(f"{tmp_path}/board", 1000)
    (tmp_path / "board").write_bytes(bytes(140_000))
    preflight.check_room(f"{tmp_path}/board", 1000)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["board"]
