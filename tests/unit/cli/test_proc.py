from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from typing import Any

import pytest

from echod.cli import proc as module
from echod.cli.proc import Process, children_of, signals, sockets_of
from support.processes import fork, reap, state
from support.wait import need_root, wait_for


def test_it_is_as_the_kernel_has_it():
    me: Any = Process(os.getpid())
    assert (me.pid, me.parent, me.session) == (os.getpid(), os.getppid(), os.getsid(0))
    assert me.state in ("running", "sleeping")
    assert set(me.uids) == {os.getuid()}
    assert sorted(me.groups) == sorted(os.getgroups())
    assert me.directory == os.getcwd()
    assert me.command[0] == sys.orig_argv[0]
    assert {"PATH"} <= set(me.environment)
    assert me.limits["Max open files"] == str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    assert me.private > me.shared > 0 or me.shared >= me.private > 0
    assert signal.SIGPIPE in me.ignored, "the interpreter's doing"
    with open("/dev/null") as file:
        me = Process(os.getpid())
        assert me.descriptors[file.fileno()] == "/dev/null"


def test_signals_of_a_mask():
    assert signals(0) == set()
    assert signals(1 << 14 | 1 | 1 << 63) == {1, 15, 64}


def test_a_zombie_has_little_to_tell_and_is_a_child():
    pid = fork(lambda: None)
    wait_for(lambda: state(pid) == "Z", "its end")
    (zombie,) = [child for child in children_of(os.getpid()) if child.pid == pid]
    assert zombie.state == "zombie"
    assert zombie.private is None
    reap(pid)
    with pytest.raises((FileNotFoundError, ProcessLookupError)):
        Process(pid)
    assert pid not in [child.pid for child in children_of(os.getpid())]


def test_sockets_by_what_they_are(tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log,
    ):
        log.bind(str(tmp_path / "log"))
        me: Any = Process(os.getpid())
        found, links = sockets_of(os.getpid()), me.descriptors
        host, port = server.getsockname()
        assert found[links[server.fileno()]] == f"listens on {host}:{port}"
        assert found[links[client.fileno()]] == f"connection with {host}:{port}"
        assert found[links[log.fileno()]] == f"unix datagram socket {tmp_path}/log"


def test_without_tables_there_are_no_sockets():
    assert sockets_of(-1) == {}


def test_what_is_not_for_us_to_see_is_unknown():
    need_root()

    def look():
        os.setresuid(65534, 65534, 65534)
        other = Process(1)
        assert other.descriptors is None
        assert other.private is None
        assert other.environment == [module.UNKNOWN]
        assert other.directory == module.UNKNOWN
        assert other.parent == 0

    assert reap(fork(look)) == 0
