from __future__ import annotations

import os
import re
import resource
import signal
import socket
import sys
from typing import Any

import pytest

from echod.cli import proc as module
from echod.cli.proc import Process, children_of, is_there, signals, sockets_of, threads_of_user
from support.daemon import SOURCE
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


def test_a_leader_that_has_ended_is_gone():
    pid = fork(lambda: None)
    wait_for(lambda: state(pid) == "Z", "its end")
    assert not is_there(pid)
    reap(pid)
    assert not is_there(pid)
    assert is_there(1)


def test_processes_of_the_user_are_counted_without_the_daemon_and_its_children():
    assert threads_of_user(os.geteuid(), 0) >= 1
    need_root()
    uid = 1 << 30 | os.getpid()  # no other test has a process of this user

    def wait_as_user():
        os.setuid(uid)
        signal.pause()

    pid = fork(wait_as_user)
    try:
        wait_for(lambda: threads_of_user(uid, 0) == 1, "its process")
        assert threads_of_user(uid, pid) == threads_of_user(uid, os.getpid()) == 0
    finally:
        os.kill(pid, signal.SIGKILL)
        reap(pid)


def test_text_that_is_not_utf_8_is_read():
    """A command line is in the encoding of paths: a pid file's name in it must be the one that was given."""
    name = os.fsdecode(b"pid_file=/\xff")
    pid = os.posix_spawn(sys.executable, [sys.executable, "-ISc", "import time; time.sleep(600)", name], {})
    try:
        wait_for(lambda: name in module.command_line(pid), "its words")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_file_systems_are_mounted_in_order():
    assert ("/proc", "proc") in module.mounts()


def test_no_other_command_opens_a_file_of_proc():
    modules = [path for path in (SOURCE / "cli").rglob("*.py") if path.name != "proc.py"]
    assert [str(path) for path in modules if re.search(r'(open|Path|readlink)\(f?"/proc', path.read_text())] == []
