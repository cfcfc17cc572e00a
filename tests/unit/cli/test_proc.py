from __future__ import annotations

import os
import re
import resource
import signal
import sys
from typing import Any

import pytest

from echod.cli import proc as module
from echod.cli.proc import Process, children_of, is_there, signals, threads_of_user
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
    assert pid in children_of(os.getpid())
    zombie = Process(pid)
    assert zombie.state == "zombie"
    assert zombie.private is None
    reap(pid)
    with pytest.raises((FileNotFoundError, ProcessLookupError)):
        Process(pid)
    assert pid not in children_of(os.getpid())


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


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Return a function that makes a process in another /proc, which this test has for its own."""
    monkeypatch.setattr(module, "ROOT", str(tmp_path))

    def make(pid, parent, uid=7, files=()):
        directory = tmp_path / str(pid)
        directory.mkdir()
        (directory / "stat").write_text(f"{pid} (a) b) S {parent} 1 1 0 -1\n")
        status = f"Name:\ta\nUid:\t{uid} {uid} {uid} {uid}\nGid:\t7 7 7 7\nGroups:\t7\nPPid:\t{parent}\nThreads:\t2\n"
        (directory / "status").write_text(status)
        for name, text in files:
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text)

    return make


@pytest.fixture
def opened(monkeypatch):
    """Return the names of the files that were read."""
    found, read = [], module.read

    def note(pid, name):
        found.append(f"{pid}/{name}")
        return read(pid, name)

    monkeypatch.setattr(module, "read", note)
    return found


def test_what_a_kernel_does_not_have_is_unknown_and_the_process_is_there(fake):
    """As with hidepid, a kernel without smaps_rollup, or a sandbox."""
    fake(70, 1)
    one = Process(70)
    assert (one.parent, one.uids) == (1, [7, 7, 7, 7])
    assert (one.private, one.shared, one.descriptors, one.limits) == (None, None, None, {})
    assert one.command == one.environment == [module.UNKNOWN]
    assert (one.directory, one.oom) == (module.UNKNOWN, module.UNKNOWN)


def test_the_list_of_children_saves_asking_every_process(fake, opened):
    fake(70, 1, files=[("task/70/children", "71 72 ")])
    for pid in (71, 72):
        fake(pid, 70)
    assert children_of(70) == [71, 72]
    assert opened == ["70/task/70/children"]


def test_without_the_list_of_children_every_process_is_asked(fake):
    for pid, parent in ((70, 1), (71, 70), (72, 70), (73, 1)):
        fake(pid, parent)
    assert sorted(children_of(70)) == [71, 72]


def test_the_users_threads_are_counted_without_reading_the_daemons_children(fake, opened):
    fake(70, 1, files=[("task/70/children", " ".join(map(str, range(1000, 2000))))])
    for pid in range(1000, 2000):
        fake(pid, 70)
    fake(71, 1)
    fake(72, 1, uid=8)
    fake(2001, 70)  # younger than the list
    assert threads_of_user(7, 70) == 2
    assert len(opened) == 4


def test_one_that_was_stopped_inside_fork():
    one = Process(os.getpid())
    one.blocked = set(range(1, 65)) - {signal.SIGKILL, signal.SIGSTOP}
    assert not one.is_forking, "it runs, and could have these signals blocked for good"
    one.code = "T"
    assert one.is_forking
    one.blocked = {signal.SIGTERM}
    assert not one.is_forking
