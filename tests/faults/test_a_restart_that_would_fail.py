"""`restart` with what would keep the daemon from starting: the one that runs goes on."""

from __future__ import annotations

import os
import shlex
import socket

import pytest

from support.processes import NOBODY, proc_status
from support.sockets import exchange, port_of_its_own
from support.wait import alive, need_root


def goes_on(echod, code, *texts, words=("restart",)):
    """See that a command fails with one line and leaves the daemon alone."""
    pid, address = echod.pid, echod.address
    done = echod.run(*words, check=code)
    assert done.stderr.count("\n") == 1
    for text in texts:
        assert text in done.stderr
    assert alive(pid)
    assert echod.pid == pid
    assert exchange(address, b"still here") == b"still here"


def test_an_address_that_is_taken(running):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running.write(listen=f"127.0.0.1:{running.port} 127.0.0.1:{port}")
        goes_on(running, 1, f"127.0.0.1:{port}", "in use")


def test_an_address_that_no_interface_has(running):
    running.write(listen="192.0.2.1:27978")
    goes_on(running, 1, "192.0.2.1:27978")


def test_a_log_that_cannot_be_opened(running):
    running.write(log=running.home / "missing" / "log")
    goes_on(running, 1, "cannot open the log", "missing/log")


def test_a_log_that_the_daemons_user_cannot_open(running):
    need_root()
    logs = running.home / "logs"
    logs.mkdir(0o700)
    os.chown(logs, 0, 0)
    running.write(log=logs / "log")
    goes_on(running, 1, "cannot open the log", "Permission denied")
    assert not (logs / "log").exists()


@pytest.mark.parametrize(
    ("setting", "value"), [("user", "no-such-user"), ("group", "no-such-group"), ("group", "99999999999")]
)
@pytest.mark.parametrize("option", [True, False])
def test_a_user_or_group_that_does_not_exist(running, setting, value, option):
    words = ["-o", f"{setting}={value}"] if option else []
    if not option:
        running.write(**{setting: value})
    where = words[-1] if option else f"{running.config}:{len(running.settings) + 1}: "
    goes_on(running, 6, where, value, words=[*words, "restart"])


def test_a_directory_that_is_not_there(running):
    running.write(directory="/nonexistent")
    goes_on(running, 1, "/nonexistent", "No such file")


def test_options_of_the_start_that_are_not_repeated(echod):
    words = ["-o", "log_level=error", "-o", "allow=127.0.0.0/8\t10.0.0.0/8"]
    echod.run(*words, "start", check=0)
    pid = echod.pid
    done = echod.run("-o", "max_children=3", *words[2:], "restart", check=2)
    command = done.stderr.split("`")[1]
    assert "-o log_level=error" in command
    assert alive(pid)
    echod.run(*words, "reload", check=0)
    done = echod.run(*[word.replace("\\t", "\t") for word in shlex.split(command)[1:]], check=0)
    assert not alive(pid)
    assert echod.status()["max_children"] == 3
    assert echod.status()["clients"] == 0


def test_addresses_that_overlap_with_those_it_holds(echod):
    port = port_of_its_own()
    echod.start(listen=f"127.0.0.1:{port}")
    pid = echod.pid
    echod.write(listen=f"*:{port}")
    echod.run("restart", check=0)
    assert not alive(pid)
    echod.write(listen=f"127.0.0.1:{port} 127.0.0.2:0")
    echod.run("restart", check=0)
    assert exchange(("127.0.0.1", port), b"x") == b"x"


def test_root_keeps_its_uid_and_takes_the_group(echod):
    need_root()
    os.chown(echod.home, 0, 0)
    echod.start(user="root", group=str(NOBODY))
    status = proc_status(echod.pid)
    assert (status["Uid"].split()[0], status["Gid"].split()[0]) == ("0", str(NOBODY))
    assert status["Groups"].split() == [str(NOBODY)]
