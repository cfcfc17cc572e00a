from __future__ import annotations

import socket

import pytest

from echod.cli import preflight
from echod.cli.context import Paths
from echod.common.errors import EchodError
from echod.common.sockets import BindError
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
        preflight.check_start(config, launch, None)


def test_a_log_in_a_directory_that_is_not_there(tmp_path):
    path = f"{tmp_path}/none/log"
    assert preflight.attempt(*prepared(f"log={path}")) == {"log": f"{path}: No such file or directory"}


@pytest.mark.parametrize(
    ("address", "held", "missing"),
    [
        (("127.0.0.1", 7), ["127.0.0.1:7"], []),
        (("127.0.0.1", 7), ["0.0.0.0:7", "[::]:7"], []),
        (("127.0.0.1", 7), ["127.0.0.1:9", "[::]:7"], ["127.0.0.1:7"]),
        (("::1", 7), ["[::]:7"], []),
        (("*", 7), ["127.0.0.1:7"], []),
        (("*", 7), [""], ["*:7"]),
    ],
)
def test_what_the_daemon_does_not_hold(address, held, missing):
    assert preflight.missing(address, held) == missing


def test_an_address_that_is_taken_fails_unless_the_daemon_holds_it():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        name = f"127.0.0.1:{taken.getsockname()[1]}"
        config, launch = prepared(f"listen={name}", "log=syslog")
        preflight.check_start(config, launch, [name])
        preflight.check_start(config, launch, None)
        with pytest.raises(BindError, match="in use"):
            preflight.check_start(config, launch, [""])
