from __future__ import annotations

import os
import select
import signal
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from echod.common import scoreboard
from echod.common.bind_errors import BindError
from echod.common.cmodules import environ
from echod.common.errors import BAD_CONFIG, FAILED, EchodError
from echod.common.launch import Launch
from echod.common.succession import Succession
from echod.server import main as module
from echod.server.main import fail, main, remove_files, report_crash, serve, take_sockets
from echod.server.manager import Manager
from echod.server.process import set_name
from support.processes import NOBODY, fork, isolated, reap
from support.sockets import Memory, exchange, memory_log, settings
from support.wait import DEADLINE, need_root


@pytest.fixture
def launch(tmp_path):
    """Return a Launch with a pid file and a scoreboard, open as the launcher leaves them."""
    pid_file, board_file = f"{tmp_path}/echod.pid", f"{tmp_path}/echod.scoreboard"
    pid_fd = os.open(pid_file, os.O_RDWR | os.O_CREAT, 0o644)
    os.write(pid_fd, b"4711\n")
    board_fd = os.open(board_file, os.O_RDWR | os.O_CREAT, 0o644)
    scoreboard.initialize(board_fd, 256)
    yield Launch(
        config_file="/dev/null", base="/", pid_file=pid_file, board_file=board_file, pid_fd=pid_fd, board_fd=board_fd
    )
    os.close(pid_fd)
    os.close(board_fd)


def image(launch, ready_fd, listening, *overrides):
    """Be the server's image, with one listening socket."""
    os.dup2(listening.fileno(), 3)
    launch = launch.replace(addresses=(None,), overrides=overrides, ready_fd=ready_fd)
    environ[b"LISTEN_PID"] = b"%d" % os.getpid()
    return main(launch.to_items())


def start(launch, *overrides):
    """Start an image; return its pid, its address and the end of its notification descriptor to read from."""
    lower_fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(4)]  # 3 is to be the socket's
    with socket.create_server(("127.0.0.1", 0)) as listening:
        read_end, write_end = os.pipe()
        pid = fork(image, launch, write_end, listening, *overrides)
        os.close(write_end)
        for fd in lower_fds:
            os.close(fd)
        return pid, listening.getsockname(), read_end


def test_it_takes_over_says_that_it_is_ready_serves_and_removes_its_files(launch):
    pid, address, read_end = start(launch, "log=stderr", "user=root")
    assert select.select([read_end], [], [], DEADLINE)[0]
    assert os.read(read_end, 100) == b"\n"
    assert os.read(read_end, 100) == b""
    assert Path(f"/proc/{pid}/comm").read_text() == "echod\n"
    assert exchange(address, b"hello") == b"hello"
    os.kill(pid, signal.SIGTERM)
    assert reap(pid) == 0
    assert not os.path.exists(launch.pid_file)
    assert not os.path.exists(launch.board_file)
    os.close(read_end)


def test_why_it_did_not_start_is_told_and_its_files_are_left_to_the_launcher(launch):
    pid, _, read_end = start(launch, "log=/nowhere/log")
    assert reap(pid) == FAILED
    assert os.read(read_end, 200) == (
        b"1 cannot open the log: /nowhere/log: No such file or directory for user %d; "
        b"`install -d -o %d /nowhere` makes the directory" % (os.geteuid(), os.geteuid())
    )
    assert os.path.exists(launch.pid_file)
    os.close(read_end)


def test_a_start_that_was_interrupted_leaves_nothing(launch):
    lower_fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(4)]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        read_end, write_end = os.pipe()
        os.close(read_end)
        pid = fork(image, launch, write_end, listening, "log=stderr")
        os.close(write_end)
        assert reap(pid) == FAILED
    for fd in lower_fds:
        os.close(fd)
    assert not os.path.exists(launch.pid_file)
    assert not os.path.exists(launch.board_file)


def test_sockets_for_another_process_are_not_taken(monkeypatch):
    for variables in ({}, {b"LISTEN_PID": b"1"}):
        monkeypatch.setattr(module, "environ", variables)
        with pytest.raises(EchodError, match="LISTEN_PID is not this process"):
            take_sockets(Launch())


def test_a_failure_is_told_to_the_launcher_and_on_stderr(capsys, monkeypatch):
    monkeypatch.setattr("echod.server.manager.environ", {})
    read_end, write_end = os.pipe()
    assert fail(Manager(write_end), EchodError("a bad config", BAD_CONFIG)) == BAD_CONFIG
    assert os.read(read_end, 100) == b"6 a bad config"
    assert capsys.readouterr().err == "echod: a bad config\n"
    os.close(read_end)
    os.close(write_end)
    assert fail(Manager(-1), BindError("*:7", OSError(98, "Address already in use"))) == FAILED


def test_after_an_upgrade_a_failure_is_logged_where_the_log_is(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Syslog", lambda _facility: pytest.fail("the log took the line"))
    before = Succession(version="0.1.0", settings=(f"log={tmp_path}/log",))
    assert fail(Manager(-1), EchodError("cannot start: out of memory"), before) == FAILED
    assert (tmp_path / "log").read_text().endswith("error call=upgrade why='cannot start: out of memory'\n")


@pytest.mark.parametrize("settings", [("log=/nowhere/log",), ("log=",), ("color=blue",)])
def test_after_an_upgrade_a_failure_is_told_to_syslog(monkeypatch, settings):
    logged = []

    def write(*line):
        logged.append(line)
        return True

    monkeypatch.setattr(module, "Syslog", lambda _facility: SimpleNamespace(write=write))
    before = Succession(version="0.1.0", settings=settings)
    assert fail(Manager(-1), EchodError("cannot start: out of memory"), before) == FAILED
    assert logged == [(0, "error call=upgrade why='cannot start: out of memory'")]


def test_files_that_are_its_own_are_removed(launch):
    remove_files(launch)
    assert not os.path.exists(launch.pid_file)
    assert not os.path.exists(launch.board_file)
    assert os.fstat(launch.pid_fd).st_size == 0


@pytest.mark.parametrize("kind", ["another", "link", "none"])
def test_files_that_are_anothers_are_not(launch, tmp_path, kind):
    for path in (launch.pid_file, launch.board_file):
        os.rename(path, f"{path}.moved")
        if kind == "another":
            Path(path).write_text("its successor's")
        elif kind == "link":
            os.symlink(f"{path}.moved", path)
    remove_files(launch)
    left = sorted(path.name for path in tmp_path.iterdir())
    moved = ["echod.pid.moved", "echod.scoreboard.moved"]
    assert left == (moved if kind == "none" else sorted([*moved, "echod.pid", "echod.scoreboard"]))


def test_a_pid_file_that_may_not_be_removed_is_emptied(launch, tmp_path):
    need_root()

    def check():
        os.chmod(tmp_path, 0o755)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        remove_files(launch)

    isolated(check)
    assert Path(launch.pid_file).read_bytes() == b""


class Stub:
    """A server whose loop ends as `run` says."""

    def __init__(self, run, *overrides):
        self.run = run
        self.log, self.lines = memory_log(*overrides)


def test_what_was_left_out_of_the_log_is_told_at_the_end(launch):
    server: Any = Stub(lambda: None)
    for number in range(400):
        server.log.limited(2, "over_limit", "", f"refuse n={number}")
    assert serve(server, launch) == 0
    assert server.lines.texts == ["refuse n=0", "refuse n=399 left_out=398", "stopped"]


def raise_bug():
    raise ZeroDivisionError("a bug")


BUG = f"crash what=ZeroDivisionError why='a bug' at={__file__}:{raise_bug.__code__.co_firstlineno + 1}"


def test_a_bug_is_logged_with_its_place_and_leaves_the_files_of_a_crash(launch):
    server: Any = Stub(raise_bug)
    assert serve(server, launch) == FAILED
    assert server.lines.texts == [BUG]
    assert os.path.exists(launch.pid_file)


class Full(Memory):
    """A log that takes no line."""

    def write(self, _level, text):
        super().write(0, text)
        return False


@pytest.mark.parametrize("syslog_works", [True, False])
def test_where_the_log_takes_no_line_a_crash_goes_to_syslog_and_then_to_stderr(monkeypatch, syslog_works):
    log, syslog, stderr = Full(), Memory() if syslog_works else Full(), Memory()
    monkeypatch.setattr(module, "Syslog", lambda _facility: syslog)
    monkeypatch.setattr(module, "Stderr", lambda: stderr)
    stub: Any = SimpleNamespace(sink=log)
    try:
        raise_bug()
    except ZeroDivisionError as error:
        report_crash(stub, error)
    for sink, used in ((log, True), (syslog, True), (stderr, not syslog_works)):
        assert [text.partition(" at=")[0] for text in sink.texts] == [BUG.partition(" at=")[0]] * used


def test_ps_says_echod():
    def check():
        set_name()
        assert Path("/proc/self/comm").read_text() == "echod\n"
        assert threading.active_count() == 1

    isolated(check)


def test_what_was_asked_for_meanwhile_is_done():
    for again, pending in ((0, set()), (1, {signal.SIGUSR2})):
        before, answers = Succession(version="0.0", lost=3, again=again, changes=("a", "b\nc")), list[Any]()
        log, lines = memory_log()
        server: Any = SimpleNamespace(
            log=log,
            config=settings("listen=*:7"),
            children=SimpleNamespace(table={1: None}),
            signals=SimpleNamespace(pending=set()),
            answer=lambda *words, _to=answers, **texts: _to.append((words, texts)),
        )
        module.resume(server, before, settings("listen=*:7"))
        assert server.signals.pending == pending
        assert answers == [((scoreboard.UPGRADES_BEGUN, 0), {"upgrade": "ok", "upgraded": ["a", "b\nc"]})]
        assert lines.texts[0].startswith("upgrade version=")
        assert lines.texts[0].endswith("from=0.0 clients=1")
        assert isinstance(lines, Memory)
        assert lines.lost == 3
