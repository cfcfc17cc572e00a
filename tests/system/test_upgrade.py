"""`upgrade` and SIGUSR2: the daemon executes the installed version in its own place, and no client notices."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket

import psutil
import pytest

from echod.cli.daemon import UPGRADE
from support.daemon import Echod
from support.installed import Installed
from support.processes import close_all, connect_many, descriptors, proc_status, signal_set, zombies
from support.sockets import exchange
from support.stream import fill
from support.visitors import Regulars, Visitors
from support.wait import DEADLINE, alive, need, need_root, wait_for
from support.watcher import Watcher


@pytest.fixture
def installed(public):
    return Installed(public)


@pytest.fixture
def echod(public, log_level, installed):
    """Return a daemon, not started yet, whose version may be changed."""
    daemon = Echod(public, prefix=installed.prefix, log_level=log_level)
    yield daemon
    daemon.cleanup()


def trial_of(pid):
    """Return the pid of the trial that a daemon has under way, or None."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children():
            if "--trial" in child.cmdline():
                return child.pid
    return None


def kinds(pid):
    """Return what a process has open, sorted; sockets and pipes without their numbers."""
    return sorted(path.partition("[")[0] for path in descriptors(pid).values())


def goes_on(echod, pid):
    """See that a daemon serves, and upgrades."""
    assert exchange(echod.address, b"and on") == b"and on"
    assert echod.pid == pid
    echod.run("upgrade", check=0)
    assert exchange(echod.address, b"and on") == b"and on"
    assert echod.pid == pid


def test_thirty_in_a_row_while_clients_verify_and_others_connect(echod):
    echod.start(log_clients="no")
    pid, address = echod.pid, echod.address
    conns = connect_many(echod, 50)
    before = wait_for(lambda: (state := echod.status())["clients"] == 50 and state, "50 clients")
    fds = kinds(pid)
    watcher = Watcher(echod)
    with Regulars(conns) as regulars, Visitors(address, count=2) as visitors:
        for _ in range(30):
            code, texts = watcher.daemon.ask(*UPGRADE)
            assert code == 0, texts
            regulars.go_on()
    assert visitors.failures == []
    assert {child["pid"] for child in echod.status()["children"]} >= {child["pid"] for child in before["children"]}
    close_all(conns)
    watcher.close()
    state = echod.wait_idle()
    assert (state["pid"], echod.pid) == (pid, pid)
    assert state["accepted"] == state["closed"] == 50 + visitors.served
    assert state["ended"]["eof"] == state["accepted"]
    assert state["bytes_in"] == state["bytes_out"] == 50_000 * regulars.rounds + 3000 * visitors.served
    assert state["uptime"] > before["uptime"]
    assert (state["generation"], state["last_reload"]) == (1, "ok")
    assert len(echod.events("upgrade")) == 30
    assert zombies(pid) == []
    assert signal_set(pid, "SigBlk") == set()
    assert kinds(pid) == fds


def test_every_child_is_kept_and_drained_at_the_end(echod):
    echod.start()
    conns = connect_many(echod, 5)
    wait_for(lambda: echod.status()["clients"] == 5, "the clients")
    children = {child["pid"]: child["peer"] for child in echod.status()["children"]}
    echod.run("upgrade", check=0)
    assert {child["pid"]: child["peer"] for child in echod.status()["children"]} == children
    conns.pop().close()
    wait_for(lambda: echod.status()["clients"] == 4, "one to be reaped")
    for conn in conns:
        conn.sendall(b"x")
    echod.run("stop", check=0)
    assert [conn.recv(2) for conn in conns] == [b"x"] * 4
    close_all(conns)
    assert len([line for line in echod.events("close") if "reason=drain in=1 out=1" in line]) == 4
    assert not any(alive(pid) for pid in children)


def test_it_is_a_daemon_as_before(running):
    before = running.run("status", "--processes").stdout
    running.run("upgrade", check=0)
    after = running.run("status", "--processes").stdout
    assert words_of(after) == words_of(before)


def words_of(processes):
    """Return the verdict on each thing but descriptors, which may have other numbers."""
    found = [line.split()[:2] for line in processes.splitlines()]
    assert len(found) > 10
    return [words for words in found if words[1] != "descriptor"]


def test_the_new_version_is_in_force_with_the_settings_of_now(echod, installed):
    echod.start(max_children_per_source=2)
    pid = echod.pid
    with echod.connect() as first, echod.connect() as second:
        installed.replace("__init__.py", '__version__ = "', '__version__ = "9.')
        echod.write(max_children=77)
        done = echod.run("upgrade", check=0)
        state = echod.status()
        assert done.stdout == f"echod: process {pid} has become version {state['version']}\n"
        assert state["version"].startswith("9.")
        assert state["max_children"] == 77
        assert echod.events("upgrade")[0].startswith(f"upgrade version={state['version']} from=")
        with echod.connect():
            wait_for(lambda: echod.status()["refused"]["per_source"] == 1, "a third one from here to be refused")
        for conn in first, second:
            conn.sendall(b"x")
            assert conn.recv(1) == b"x"
    echod.wait_idle()
    assert exchange(echod.address, b"again") == b"again"
    echod.run("reload", check=0)
    echod.run("reopen", check=0)
    echod.run("restart", check=0)
    assert echod.pid != pid


def test_an_address_that_is_new_follows_by_a_reload(echod):
    echod.start()
    here = f"127.0.0.1:{echod.port}"
    echod.write(listen=f"{here} 127.0.0.2:0")
    echod.run("upgrade", check=0)
    wait_for(lambda: len(echod.status()["listen"]) == 2, "the reload")
    assert "listen: 127.0.0.1:0 -> " in echod.events("reload")[0]
    fresh = echod.status()["listen"]
    echod.run("upgrade", check=0)
    assert echod.status()["listen"] == fresh
    for name in fresh:
        host, _, port = name.partition(":")
        assert exchange((host, int(port)), b"both") == b"both"
    echod.write(listen="192.0.2.1:7")
    echod.run("upgrade", check=0)
    wait_for(lambda: "192.0.2.1:7" in echod.status()["last_reload"], "the reload that fails")
    assert echod.status()["listen"] == fresh


BROKEN = {
    "a syntax error": (
        lambda new, _: new.replace("server/acceptor.py", "class Acceptor:", "class Acceptor"),
        1,
        "server/acceptor.py:[0-9]+: SyntaxError: ",
    ),
    "a missing module": (
        lambda new, _: (new.package / "server" / "ending.py").unlink(),
        1,
        "server/acceptor.py:[0-9]+: ModuleNotFoundError: No module named 'echod.server.ending'",
    ),
    "nothing installed": (lambda new, _: (new.package / "server" / "boot.py").unlink(), 1, "boot.py.*No such file"),
    "another layout": (
        lambda new, _: new.replace("common/scoreboard.py", "VERSION = 0x6563686F64_", "VERSION = 1 + 0x6563686F64_"),
        1,
        "the scoreboard has layout [0-9]+, this version [0-9]+; use restart",
    ),
    "a config that does not parse": (lambda _, echod: echod.write(max_children="many"), 6, ":[0-9]+: max_children: "),
    "a config that it may not read": (
        lambda _, echod: echod.config.chmod(0),
        6,
        "echod.conf: Permission denied",
    ),
    "a log that cannot be opened": (
        lambda _, echod: echod.write(log="/proc/none"),
        1,
        "cannot open the log: /proc/none",
    ),
    "a setting that is gone": (
        lambda new, _: new.replace(
            "common/config/settings.py", 'Setting(\n            "over_limit"', 'Setting(\n            "x"'
        ),
        6,
        "over_limit: unknown setting",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_version_that_is_not_fit_is_refused(echod, installed, name):
    what, code, why = BROKEN[name]
    if name == "a config that it may not read":
        need_root()
    echod.start(over_limit="refuse")
    pid, before = echod.pid, kinds(echod.pid)
    with echod.connect() as conn:
        what(installed, echod)
        echod.prefix = []  # the command is of the version that is running
        done = echod.run("upgrade", check=code)
        assert re.fullmatch(f"echod: .*{why}.*; the previous version continues\n", done.stderr), done.stderr
        conn.sendall(b"x")
        assert conn.recv(1) == b"x"
    assert "error call=upgrade why=" in echod.log.read_text()
    wait_for(lambda: kinds(pid) == before, "all that was opened to be closed")
    installed.restore()
    echod.write(max_children=256, log=str(echod.log))
    echod.config.chmod(0o644)
    goes_on(echod, pid)


def test_not_running_and_usage(echod):
    assert "not running" in echod.run("upgrade", check=7).stderr
    echod.start()
    assert "takes effect at a start" in echod.run("-o", "max_children=3", "upgrade", check=2).stderr


def test_a_trial_that_hangs(echod, installed):
    installed.replace("server/upgrade.py", "DEADLINE = 10.0", "DEADLINE = 0.5")
    echod.start()
    installed.on_trial("time.sleep(60)")
    assert "has taken more than 0.5 s" in echod.run("upgrade", check=1).stderr
    assert echod.children() == []
    assert exchange(echod.address, b"and on") == b"and on"


def test_a_trial_that_is_killed(echod, installed):
    echod.start()
    installed.on_trial("__import__('os').kill(__import__('os').getpid(), 11)")
    assert "it was ended by SIGSEGV" in echod.run("upgrade", check=1).stderr
    installed.restore()
    goes_on(echod, echod.pid)


def slow_trial(echod, installed):
    """Start a trial that hangs, wait until it has loaded its modules, which tests replace, and return its pid."""
    echod.start()
    loaded = echod.home / "loaded"
    installed.on_trial(f"open({str(loaded)!r}, 'x').close(); time.sleep(60)")
    os.kill(echod.pid, signal.SIGUSR2)
    wait_for(loaded.exists, "the trial")
    return trial_of(echod.pid)


def test_signals_during_a_trial_are_not_lost(echod, installed):
    trial = slow_trial(echod, installed)
    pid = echod.pid
    echod.write(max_children=33)
    echod.run("reload", check=0)
    echod.run("reopen", check=0)
    assert exchange(echod.address, b"served meanwhile") == b"served meanwhile"
    os.kill(pid, signal.SIGUSR2)  # for the time after it
    installed.restore()
    os.kill(trial, signal.SIGKILL)
    wait_for(lambda: echod.events("upgrade")[1:], "the second one")
    assert "it was ended by SIGKILL" in echod.events("upgrade")[0]
    assert echod.events("upgrade")[1].startswith("upgrade version=")
    assert (echod.status()["max_children"], echod.status()["generation"]) == (33, 2)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_during_a_trial(echod, installed, signum):
    trial, pid = slow_trial(echod, installed), echod.pid
    with echod.connect() as conn:
        wait_for(lambda: echod.status()["clients"], "the client")
        os.kill(pid, signum)
        conn.settimeout(DEADLINE)
        assert conn.recv(1) == b""
    wait_for(lambda: not alive(pid) and not alive(trial), "the end of both")
    assert echod.events()[-1] == "stopped"


def test_an_upgrade_of_a_daemon_that_drains(echod):
    echod.start(drain_timeout="1min")
    with echod.connect() as conn:
        fill(conn)  # otherwise the drain might end before the upgrade begins
        pid = echod.pid
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGUSR2)
        assert "is draining" in echod.run("upgrade", check=1).stderr
    wait_for(lambda: not alive(pid), "its end")


def test_a_daemon_that_is_killed_during_a_trial(echod, installed):
    trial, pid = slow_trial(echod, installed), echod.pid
    os.kill(pid, signal.SIGKILL)
    installed.restore()
    echod.run("start", check=0)
    goes_on(echod, echod.pid)
    os.kill(trial, signal.SIGTERM)
    wait_for(lambda: not alive(trial), "its end")


def test_in_the_foreground_under_a_service_manager(echod, tmp_path):
    """The service manager is told that the new version is ready, by the process that it knows."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(echod.home / "notify"))
        (echod.home / "notify").chmod(0o777)
        manager.settimeout(DEADLINE)
        echod.write(log="stderr")
        with open(tmp_path / "stderr", "w") as stderr:
            process = echod.foreground(env=os.environ | {"NOTIFY_SOCKET": str(echod.home / "notify")}, stderr=stderr)
        assert b"READY=1" in manager.recv(4096)
        echod.run("upgrade", check=0)
        assert b"READY=1" in manager.recv(4096)
        pid = echod.pid
        assert "upgrade version=" in (tmp_path / "stderr").read_text()
        os.kill(pid, signal.SIGINT)
        assert process.wait(DEADLINE) == 0
        assert "stopped" in (tmp_path / "stderr").read_text()


@pytest.mark.parametrize("name", ["new\nline", "socket=9\nuid=0\n", b"\xff\n=".decode(errors="surrogateescape")])
def test_a_setting_may_hold_any_character(echod, name):
    """No setting holds a newline as it is written, but the directory that a relative path begins in may."""
    directory = echod.home / name / "below"
    directory.mkdir(parents=True)
    echod.run("-o", "directory=below", "start", check=0, cwd=directory.parent)
    pid = echod.pid
    for _ in range(2):  # the second version has been executed by the first
        goes_on(echod, pid)
        assert os.readlink(f"/proc/{pid}/cwd") == str(directory)
    echod.run("reload", check=0)
    goes_on(echod, pid)


def test_as_an_ordinary_user(public, installed):
    need_root()
    os.chown(public, 5, 5)
    ids = [need("setpriv"), "--reuid", "5", "--regid", "5", "--clear-groups", "--"]
    echod = Echod(public, prefix=[*ids, *installed.prefix])
    try:
        echod.start()
        goes_on(echod, echod.pid)
        assert proc_status(echod.pid)["Uid"].split() == ["5"] * 4
    finally:
        echod.cleanup()
