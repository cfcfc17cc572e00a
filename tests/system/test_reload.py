"""`reload` and `reopen`: all of the new settings or none, and no client notices."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess

import pytest

from support.daemon import Echod, give
from support.processes import NOBODY, MountNamespace, anonymous, descriptors, zombies
from support.sockets import exchange, port_of_its_own, receive_all
from support.visitors import Visitors
from support.wait import DEADLINE, alive, need_root, wait_for


@pytest.mark.parametrize("reloads", [20, pytest.param(100, marks=pytest.mark.campaign)])
def test_reloads_while_clients_come_and_go(echod, reloads):
    echod.start(log_clients="no", listen=f"127.0.0.1:{port_of_its_own()}")
    address, pid = echod.address, echod.pid
    here, everywhere = f"127.0.0.1:{address[1]}", f"*:{address[1]}"
    echod.write(listen=here)
    echod.run("reload", check=0)
    before, memory = descriptors(pid), anonymous(pid)
    with echod.connect() as old, Visitors(address) as visitors:
        for number in range(reloads):
            echod.write(max_children=200 + number % 2, listen=here if number % 2 else everywhere)
            echod.run("reload", check=0)
        old.sendall(b"still here")
        assert old.recv(100) == b"still here"
        served = visitors.served
    assert not visitors.failures
    assert served > reloads
    state = echod.wait_idle()
    assert (state["generation"], state["last_reload"], state["pid"]) == (reloads + 2, "ok", pid)
    assert state["accepted"] == state["closed"] >= served
    assert len(descriptors(pid)) == len(before)
    assert not zombies(pid)
    assert anonymous(pid) < memory + 512


def test_says_what_changed(running):
    assert running.run("reload", check=0).stdout == "echod: reloaded, nothing changed\n"
    running.write(max_children=9, idle_timeout="5s", umask="077", deny="192.0.2.0/24")
    said = running.run("reload", check=0).stdout.splitlines()
    assert "max_children: 256 -> 9" in said
    assert "deny: empty -> 192.0.2.0/24" in said
    assert "idle_timeout: 10min -> 5s (new clients)" in said
    assert "umask: 022 -> 077 (needs a restart)" in said
    assert len(said) == 4
    state = running.status()
    assert (state["max_children"], state["generation"], state["last_reload"]) == (9, 3, "ok")
    assert "generation=3" in running.events("reload")[-1]


def test_settings_of_the_command_line_stay_in_force(echod):
    echod.run("-o", "max_children=5", "start", check=0)
    echod.write(max_children=6, backlog=7)
    assert echod.run("reload", check=0).stdout == "backlog: 4096 -> 7\n"
    assert echod.status()["max_children"] == 5


def unchanged(echod, address, before):
    """See that the daemon serves as before."""
    state = echod.status()
    assert state["generation"] == before["generation"]
    assert state["max_children"] == before["max_children"]
    assert state["listen"] == before["listen"]
    assert exchange(address, b"as before") == b"as before"


def test_a_bad_file_changes_nothing(running):
    before, address = running.status(), running.address
    with running.connect() as conn:
        with open(running.config, "a") as file:
            file.write("max_children = 17\nbacklog = huge\n")
        line = len(running.config.read_text().splitlines())
        done = running.run("reload", check=6)
        assert f"{running.config}:{line}: backlog: 'huge'" in done.stderr
        assert "allowed: a whole number" in done.stderr
        assert done.stderr.count("\n") == 1
        unchanged(running, address, before)
        os.kill(running.pid, signal.SIGHUP)  # not seen by the command: the daemon has to find it itself
        wait_for(lambda: running.status()["last_reload"] != "never", "the failed reload")
        assert f"{running.config}:{line}" in running.status()["last_reload"]
        assert "call=reload why=" in running.events("error")[-1]
        unchanged(running, address, before)
        conn.sendall(b"on")
        assert conn.recv(100) == b"on"
    running.write(max_children=3)
    running.run("reload", check=0)
    assert running.status()["last_reload"] == "ok"


def test_a_file_that_vanished_changes_nothing(running):
    before, address = running.status(), running.address
    running.config.unlink()
    os.kill(running.pid, signal.SIGHUP)
    wait_for(lambda: running.events("error"), "the failed reload")
    assert "No such file" in running.events("error")[0]
    assert "No such file" in running.status()["last_reload"]
    running.write()
    unchanged(running, address, before)


def test_an_address_that_cannot_be_bound_changes_nothing(running):
    before, address = running.status(), running.address
    fds = descriptors(running.pid)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running.write(listen=f"127.0.0.1:0 127.0.0.1:{port}", max_children=3, log=running.home / "other.log")
        done = running.run("reload", check=1)
    assert f"127.0.0.1:{port}" in done.stderr
    assert "in use" in done.stderr
    assert "the previous settings remain in effect" in done.stderr
    unchanged(running, address, before)
    assert str(port) in running.status()["last_reload"]
    assert "call=reload why=" in running.events("error")[-1], "it logs to another file than before"
    assert descriptors(running.pid) == fds


def test_a_log_that_cannot_be_opened_changes_nothing(running):
    before, address = running.status(), running.address
    running.write(log=running.home / "missing" / "log", max_children=3)
    assert "missing/log" in running.run("reload", check=1).stderr
    unchanged(running, address, before)


def test_from_one_address_to_all_and_back(echod):
    """*:P overlaps 127.0.0.1:P; whoever connects to 127.0.0.1:P meanwhile is served."""
    port = port_of_its_own()
    echod.start(log_clients="no", listen=f"127.0.0.1:{port}")
    address = echod.address
    with echod.connect() as old, Visitors(address) as visitors:
        for _ in range(5):
            echod.write(listen=f"*:{port}")
            echod.run("reload", check=0)
            assert f"0.0.0.0:{port}" in echod.status()["listen"]
            echod.write(listen=f"127.0.0.1:{port}")
            echod.run("reload", check=0)
            assert echod.status()["listen"] == [f"127.0.0.1:{port}"]
        old.sendall(b"still here")
        assert old.recv(100) == b"still here"
    assert not visitors.failures


def test_a_second_daemon_cannot_share_the_port_after_a_reload(echod, tmp_path):
    port = port_of_its_own()
    echod.start(listen=f"127.0.0.1:{port}")
    address = echod.address
    echod.write(listen=f"*:{port}")
    echod.run("reload", check=0)
    second = tmp_path / "second"
    second.mkdir()
    for listen in (f"127.0.0.1:{port}", f"*:{port}"):
        assert "in use" in Echod(second, listen=listen).run("start", check=1).stderr
    assert exchange(address, b"mine") == b"mine"


def test_a_new_port_beside_one_that_stays(running):
    address, fds = running.address, descriptors(running.pid)
    with running.connect() as old, Visitors(address) as visitors:
        for _ in range(5):
            running.write(listen=f"127.0.0.1:{address[1]} 127.0.0.2:0")
            running.run("reload", check=0)
            new = [text for text in running.status()["listen"] if text.startswith("127.0.0.2:")]
            host, _, port = new[0].rpartition(":")
            assert exchange((host, int(port)), b"new") == b"new"
            running.write(listen=f"127.0.0.1:{address[1]}")
            running.run("reload", check=0)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((host, int(port)), timeout=DEADLINE)
        old.sendall(b"still here")
        assert old.recv(100) == b"still here"
    assert not visitors.failures
    running.wait_idle()
    assert len(descriptors(running.pid)) == len(fds)


def test_an_address_that_goes_away_leaves_its_clients_alone(running):
    address = running.address
    with running.connect() as old:
        running.write(listen="127.0.0.2:0")
        running.run("reload", check=0)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=DEADLINE)
        old.sendall(b"still here")
        old.shutdown(socket.SHUT_WR)
        assert receive_all(old) == b"still here"


def test_clients_in_the_backlog_of_an_address_that_goes_away(echod):
    """They have connected: the kernel has told them so. They are served before the listener closes."""
    echod.start(max_children=20)
    address = echod.address
    process = echod.process()
    process.suspend()
    conns = [socket.create_connection(address, timeout=DEADLINE) for _ in range(10)]
    for conn in conns:
        conn.sendall(b"early")
    echod.write(listen="127.0.0.2:0")
    os.kill(process.pid, signal.SIGHUP)
    process.resume()
    for conn in conns:
        assert conn.recv(100) == b"early"
        conn.close()


def test_a_lower_cap_lets_those_who_are_in_finish(running):
    conns = [running.connect() for _ in range(4)]
    wait_for(lambda: running.status()["clients"] == 4, "4 clients")
    running.write(max_children=2)
    running.run("reload", check=0)
    for conn in conns:
        conn.sendall(b"x")
        assert conn.recv(1) == b"x"
        conn.close()
    assert exchange(running.address, b"next") == b"next"


def test_another_log_file(running):
    new = running.home / "new.log"
    running.write(log=new)
    assert f"log: {running.log} -> {new}" in running.run("reload", check=0).stdout
    old = running.log.read_text()
    exchange(running.address, b"x")
    wait_for(lambda: " close " in new.read_text(), "a line in the new log")
    assert running.log.read_text() == old
    assert str(running.log) not in descriptors(running.pid).values()


def test_reopen_after_rotation(running):
    rotated = running.home / "echod.log.1"
    running.log.rename(rotated)
    running.run("reopen", check=0)
    exchange(running.address, b"x")
    wait_for(lambda: running.events("close"), "a line in the new file")
    assert " close " not in rotated.read_text()
    assert str(rotated) not in descriptors(running.pid).values()


def test_reopen_of_a_log_that_cannot_be_opened(echod):
    (echod.home / "logs").mkdir()
    give(echod.home / "logs")
    echod.log = echod.home / "logs" / "log"
    echod.start(log=echod.log)
    (echod.home / "logs").rename(echod.home / "moved")
    assert "old file is still in use" in echod.run("reopen", check=1).stderr
    echod.log = echod.home / "moved" / "log"
    exchange(echod.address, b"x")
    wait_for(lambda: echod.events("close"), "a line in the old file")


def test_reloads_at_the_same_moment(running):
    running.write(max_children=77)
    reloads = [
        subprocess.Popen(running.command("reload"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    said = [reload.communicate(timeout=60) for reload in reloads]
    assert [reload.returncode for reload in reloads] == [0] * 6, said
    assert running.status()["max_children"] == 77


@pytest.mark.parametrize("command", ["reload", "reopen"])
def test_when_nothing_runs(echod, command):
    assert "not running" in echod.run(command, check=7).stderr


@pytest.mark.parametrize("command", ["stop", "reload", "reopen"])
def test_as_another_user(echod, command):
    need_root()
    echod.start(user="root")
    done = echod.run(command, check=4, user=NOBODY, group=NOBODY, extra_groups=[])
    assert f"cannot signal process {echod.pid}" in done.stderr
    assert alive(echod.pid)


def test_with_another_file_than_the_daemon_has(running, tmp_path):
    other = tmp_path / "other.conf"
    other.write_text(running.config.read_text())
    generation = running.status()["generation"]
    config, running.config = running.config, other
    done = running.run("reload", check=1)
    assert str(config) in done.stderr
    assert running.status()["generation"] == generation


def test_sighup_to_the_whole_group_costs_no_client(running):
    with running.connect() as conn:
        conn.sendall(b"x")
        conn.recv(1)
        for process in [running.process(), *running.children()]:
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGUSR1)
            process.send_signal(signal.SIGPIPE)
        wait_for(lambda: running.status()["generation"] == 2, "the reload")
        conn.sendall(b"y")
        assert conn.recv(1) == b"y"


@pytest.mark.parametrize(
    ("setting", "value", "code"),
    [
        ("user", "no-such-user", 6),
        ("group", "no-such-group", 6),
        ("directory", "/nonexistent", 6),
        ("log", "stderr", 6),
        ("listen", "*:7777 127.0.0.1:7777", 6),
        ("backlog", "many", 6),
        ("log", "/nonexistent/log", 1),
        ("listen", "192.0.2.1:7777", 1),
    ],
)
def test_a_reload_that_fails_is_recorded_whoever_finds_the_fault(running, setting, value, code):
    running.write(**{setting: value})
    done = running.run("reload", check=code)
    state = running.status()
    assert state["generation"] == 1
    assert state["last_reload"] != "ok"
    assert state["last_reload"] in done.stderr
    assert 'call=reload why="' in (line := running.events("error")[-1]) or "call=reload why='" in line
    metrics = running.run("status", "--openmetrics", check=0).stdout
    assert re.search(r"^echod_config_last_reload_successful(\{.*\})? 0$", metrics, re.MULTILINE), metrics


def test_a_reload_looks_names_up_again(public, tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 echo.example\n")
    with MountNamespace(f"mount --bind {hosts} /etc/hosts\n") as namespace:
        echod = Echod(public, prefix=namespace.prefix)
        try:
            port = port_of_its_own()
            echod.start(listen=f"echo.example:{port}")
            hosts.write_text("127.0.0.2 echo.example\n127.0.0.3 echo.example\n")
            echod.run("reload", check=0)
            assert sorted(echod.status()["listen"]) == [f"127.0.0.2:{port}", f"127.0.0.3:{port}"]
            assert exchange(("127.0.0.3", port), b"x") == b"x"
            hosts.write_text("127.0.0.3 echo.example\n")
            echod.run("reload", check=0)
            assert echod.status()["listen"] == [f"127.0.0.3:{port}"]
        finally:
            echod.cleanup()
