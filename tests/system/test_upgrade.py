"""`upgrade` and SIGUSR2: the daemon executes the installed version in its own place, and no client notices."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import sys

import psutil
import pytest

from echod import __version__
from echod.cli.daemon import UPGRADE, Daemon
from echod.cli.pidfile import PidFile
from echod.common import scoreboard
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
            code, copy = watcher.daemon.ask(*UPGRADE)
            assert code == 0, copy.texts()
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
    assert (state["generation"], state["last_reload"]) == (1, "never")
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
        became = f"echod: process {pid} has become version {state['version']}"
        assert done.stdout.splitlines() == [became, "max_children: 256 -> 77"]
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


def test_addresses_that_need_no_resolver_are_listened_on(echod):
    echod.start()
    echod.write(listen=f"127.0.0.1:{echod.port} 127.0.0.2:0")
    assert "listen: 127.0.0.1:0 -> " in echod.run("upgrade", check=0).stdout
    fresh = echod.status()["listen"]
    assert len(fresh) == 2
    echod.run("upgrade", check=0)
    assert echod.status()["listen"] == fresh
    for name in fresh:
        host, _, port = name.partition(":")
        assert exchange((host, int(port)), b"both") == b"both"
    assert echod.run("reload", check=0).stdout == "echod: reloaded, nothing changed\n"
    echod.write(listen="192.0.2.1:7")
    said = echod.run("upgrade", check=0).stdout
    assert "listen: cannot listen on 192.0.2.1:7: " in said
    assert said.endswith("; the previous addresses stay in effect\n")
    assert "error call=bind why=" in echod.log.read_text()
    assert echod.status()["listen"] == fresh


def test_a_new_name_is_left_for_a_restart_and_nobody_waits_for_a_resolver(public, echod, installed):
    """The new version could not look it up at all: every way to the resolver is cut in it."""
    echod.start()
    before, here = echod.status()["listen"], f"127.0.0.1:{echod.port}"
    asks = public / "asked"
    installed.replace(
        "common/sockets.py",
        "        found = socket.getaddrinfo(",
        f"        os.close(os.open({str(asks)!r}, 1 | 64))\n        found = socket.getaddrinfo(",
    )
    for listen in (f"{here} slow.example:0", "slow.example:0", f"slow.example:0 {here} 127.0.0.1:0"):
        echod.write(listen=listen, max_children=7)
        said = echod.run("upgrade", check=0).stdout
        assert f"slow.example:0{', ' + here if listen.startswith('slow') and here in listen else ''}" in said
        assert "(needs a restart)" in said
        assert (echod.status()["listen"], echod.status()["max_children"]) == (before, 7)
        assert exchange(echod.address, b"still here") == b"still here"
    assert not asks.exists()


def test_values_that_need_a_restart_stay_those_in_effect(echod):
    need_root()
    echod.start()
    (echod.home / "below").mkdir()
    echod.write(user="root", umask="077", directory=str(echod.home / "below"))
    wanted = {"user: nobody -> root", "umask: 022 -> 077", f"directory: / -> {echod.home}/below"}
    wanted = {f"{line} (needs a restart)" for line in wanted}
    for command in ("reload", "upgrade", "upgrade", "reload"):
        assert wanted == set(echod.run(command, check=0).stdout.splitlines()) - {f"echod: {became(echod)}"}, command
    assert os.readlink(f"/proc/{echod.pid}/cwd") == "/"


def became(echod):
    return f"process {echod.pid} has become version {echod.status()['version']}"


def test_texts_of_any_length_and_any_bytes(echod):
    """The options that it was started with, what a reload and an upgrade have changed, the names of many addresses."""
    networks = [f"10.{number // 250}.{number % 250}.1" for number in range(1400)]
    echod.write(listen=" ".join(f"127.0.0.{number}:0" for number in range(1, 201)))
    options = ["deny=" + "\t".join(networks), f"directory={echod.home}/new\tline"]
    (echod.home / "new\tline").mkdir()
    words = [word for option in options for word in ("-o", option)]
    echod.run(*words, "start", check=0)
    state = echod.status()
    assert (state["overrides"], len(state["listen"])) == (options, 200)
    for command in ("reload", "upgrade", "reload"):
        echod.write(allow=f"127.0.0.0/8 {' '.join(networks)} ::{len(command)}", max_children=7)
        said = echod.run(*words, command, check=0).stdout
        assert f"10.5.149.1, ::{len(command)}" in said, "what has changed is printed whole"
        assert "takes effect at a start" in echod.run("-o", options[0] + "1", command, check=2).stderr
        state = echod.status()
        assert (state["overrides"], len(state["listen"])) == (options, 200)
    os.kill(echod.pid, signal.SIGKILL)
    echod.run(*words, "start", check=0)
    assert echod.status()["overrides"] == options


def test_the_command_of_another_installation_is_refused(public, echod, installed):
    other = Installed(public / "other")
    echod.start()
    pid = echod.pid
    for removed in (False, True):
        if removed:
            shutil.rmtree(installed.package)
        echod.prefix = other.prefix
        why = echod.run("upgrade", check=1).stderr
        assert why == (
            f"echod: process {pid} executes {installed.package}, and this command belongs to {other.package}; "
            "use restart\n"
        )
        assert (echod.pid, echod.status()["version"]) == (pid, __version__)
    echod.run("restart", check=0)
    goes_on(echod, echod.pid)


def test_the_same_installation_through_a_link_is_the_same(public, echod, installed):
    echod.start()
    (public / "link").symlink_to(installed.root)
    echod.prefix = ["env", f"PYTHONPATH={public / 'link'}"]
    goes_on(echod, echod.pid)


def test_an_installation_that_the_daemons_user_cannot_read(echod, installed):
    need_root()
    installed.root.chmod(0o700)
    warned = echod.run("start", check=0).stderr
    why = rf"{installed.package}[a-z_/.]*: Permission denied"
    assert re.fullmatch(f"echod: warning: {why} for user nobody: an upgrade will fail; use restart .*\n", warned), (
        warned
    )
    assert re.search(f"warning: {why} for user nobody", echod.run("check").stderr)
    refused = echod.run("upgrade", check=1).stderr
    assert re.fullmatch(f"echod: user nobody cannot execute this installation: {why}; use restart\n", refused), refused
    assert exchange(echod.address, b"and on") == b"and on"
    installed.root.chmod(0o755)
    assert "warning: " not in echod.run("check").stderr
    goes_on(echod, echod.pid)


FORGED = (
    (scoreboard.TOP, 1 << 40),
    (scoreboard.TOP, -1),
    (scoreboard.MAX_CHILDREN, 1 << 62),
    (scoreboard.TEXTS_AT, 1 << 62),
    (scoreboard.TEXTS_LENGTH, 1 << 40),
    (scoreboard.TEXTS_LENGTH, 3),
)


@pytest.mark.parametrize(("word", "value"), FORGED)
def test_a_scoreboard_that_was_written_to_ends_no_daemon(echod, word, value):
    echod.start()
    pid = echod.pid
    with open(f"{echod.pid_file}.scoreboard", "r+b") as file:
        file.seek(word * scoreboard.WORD_SIZE)
        file.write(value.to_bytes(scoreboard.WORD_SIZE, sys.byteorder, signed=True))
    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(connect_to(pid)) for _ in range(20)]
        os.kill(pid, signal.SIGUSR2)
        wait_for(lambda: echod.events("upgrade"), "the upgrade")
        for conn in conns:
            conn.sendall(b"x")
            assert conn.recv(1) == b"x"
    goes_on(echod, pid)


def connect_to(pid):
    """Connect without the scoreboard, which is forged."""
    (connection,) = [one for one in psutil.Process(pid).net_connections("tcp4") if one.status == "LISTEN"]
    return socket.create_connection(connection.laddr, timeout=DEADLINE)


def test_a_new_version_that_crashes_in_the_daemons_place_says_so_in_the_log(echod, installed):
    echod.start()
    pid = echod.pid
    installed.replace("server/main.py", "    oom.check()\n", "    oom.check()\n    raise KeyError('a bug')\n")
    os.kill(pid, signal.SIGUSR2)
    wait_for(lambda: not alive(pid), "its end")
    assert "error call=upgrade why=" in echod.events()[-1]
    assert "crash what=KeyError" in echod.events()[-1]
    installed.restore()


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
        with Daemon.find(PidFile(str(echod.pid_file))) as daemon:  # a command may be as broken as the daemon
            found, copy = daemon.ask(*UPGRADE)
        assert (found, bool(re.search(why, copy.texts()["upgrade"]))) == (code, True), copy.texts()["upgrade"]
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
    said = echod.run("upgrade", check=1).stderr
    assert "has taken more than 0.5 s" in said
    assert said.endswith("; the previous version continues\n")
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
    wait_for(lambda: echod.events("upgrade"), "the second one")
    assert "it was ended by SIGKILL" in echod.events("error")[0]
    assert echod.events("upgrade")[0].startswith("upgrade version=")
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


def test_a_trial_ends_with_a_daemon_that_is_killed(echod, installed):
    """Otherwise it would keep the daemon's sockets, and a start would find the address in use."""
    echod.start()
    echod.write(listen=f"127.0.0.1:{echod.port}")
    loaded = echod.home / "loaded"
    installed.on_trial(f"open({str(loaded)!r}, 'x').close(); time.sleep(60)")
    pid = echod.pid
    os.kill(pid, signal.SIGUSR2)
    wait_for(loaded.exists, "the trial")
    trial = trial_of(pid)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(trial), "the trial's end")
    installed.restore()
    echod.run("start", check=0)
    goes_on(echod, echod.pid)


def test_a_trial_of_a_daemon_that_is_stopped_ends_at_its_deadline(echod, installed):
    """Also where the daemon does not kill it, and where prctl(2) is not there."""
    installed.replace("server/upgrade.py", "signal.alarm(int(DEADLINE) + 1)", "signal.alarm(5)")
    installed.replace("server/upgrade.py", "import ctypes ", "import no_ctypes as ctypes ")
    trial, pid = slow_trial(echod, installed), echod.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: psutil.Process(trial).status() == psutil.STATUS_ZOMBIE, "the trial's end")
    finally:
        os.kill(pid, signal.SIGCONT)
    installed.restore()
    goes_on(echod, pid)


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
