"""`stop`: nobody's echo is lost, no connection is reset, no unrelated process is touched."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.processes import close_all, connect_many, servers
from support.sockets import receive_all
from support.wait import DEADLINE, alive, need, wait_for

MIB = 1 << 20
FULL = 0.3  # seconds without room in the send buffer that mean: the peer has stopped reading


def fill(conn, data):
    """Send as much as fits into the buffers of both sides, without reading; return how much that was."""
    conn.setblocking(False)
    sent, poller = 0, select.poll()
    poller.register(conn, select.POLLOUT)
    while sent < len(data) and poller.poll(FULL * 1000):
        sent += conn.send(data[sent : sent + MIB])
    conn.settimeout(DEADLINE)
    return sent


def ended_in_order(conn):
    """Tell whether the connection has ended with FIN, and no RST came after it."""
    return conn.recv(1) == b"" and conn.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_idle_clients_see_a_fin_and_no_reset(echod, record_property):
    echod.start(max_children=200, drain_timeout="10min")
    conns = connect_many(echod, 200)
    wait_for(lambda: echod.status()["clients"] == 200, "200 clients")
    pid, begun = echod.pid, time.monotonic()
    echod.run("stop", check=0)
    record_property("seconds", round(time.monotonic() - begun, 3))
    assert not alive(pid)
    assert all(map(ended_in_order, conns))
    close_all(conns)
    assert sum("reason=drain" in line for line in echod.events("close")) == 200
    assert [line.split()[0] for line in echod.events()[-1:]] == ["stopped"]
    assert not echod.pid_file.exists()


def test_clients_at_work_see_a_fin_and_no_reset(echod):
    """The signal finds children between any two instructions; none may sleep through the drain."""
    echod.start(max_children=50, drain_timeout="10min", log_clients="no")
    conns = connect_many(echod, 50)
    pid, stopping = echod.pid, threading.Event()

    def keep_busy(part):
        while not stopping.is_set():
            for conn in part:
                conn.sendall(b"x")
            for conn in part:
                assert conn.recv(1) in (b"x", b"")

    with ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(keep_busy, conns[start::4]) for start in range(4)]
        wait_for(lambda: echod.status()["bytes_out"] > 2000, "some traffic")
        stopping.set()
        os.kill(pid, signal.SIGTERM)
    for future in busy:
        future.result()
    assert all(map(ended_in_order, conns))
    close_all(conns)
    wait_for(lambda: not alive(pid), "the daemon to be gone")


@pytest.mark.parametrize("size", [64 << 10, MIB, 8 * MIB], ids=["64KiB", "1MiB", "8MiB"])
@pytest.mark.parametrize("half_closed", [False, True], ids=["open", "half-closed"])
def test_clients_with_unread_echoes_get_all_of_it(running, size, half_closed):
    data = os.urandom(size)
    with running.connect() as conn:
        sent = fill(conn, data)
        if half_closed:
            conn.shutdown(socket.SHUT_WR)
        stop = subprocess.Popen(running.command("stop"))
        wait_for(lambda: running.events("drain"), "the drain")
        back = receive_all(conn)
        assert conn.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert len(back) == sent
    assert back == data[:sent]
    assert stop.wait(DEADLINE) == 0


def test_a_client_that_streams_gets_a_prefix_and_no_reset(echod):
    echod.start(drain_timeout="2s")
    data = os.urandom(MIB)
    received, ended = 0, threading.Event()
    with echod.connect() as conn:

        def stream():
            while not ended.is_set():
                conn.sendall(data)
            conn.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=stream)
        sender.start()
        stop = None
        while part := conn.recv(MIB - received % MIB):
            assert part == data[received % MIB : received % MIB + len(part)]
            received += len(part)
            if not stop and received > 4 * MIB:
                stop = subprocess.Popen(echod.command("stop"))
        ended.set()
        sender.join(DEADLINE)
        assert not sender.is_alive()
    assert stop.wait(DEADLINE) == 0
    assert "reason=drain" in echod.events("close")[0]


@pytest.fixture
def stuck(echod):
    """Yield a daemon that would drain for long: a client has not read its echo."""
    echod.start(drain_timeout="10min")
    with echod.connect() as conn:
        fill(conn, bytes(64 * MIB))
        yield echod


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(stuck, again):
    pid, children = stuck.pid, stuck.children()
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: stuck.status()["state"] == "draining", "the drain")
    assert alive(children[0].pid)
    os.kill(pid, again)
    wait_for(lambda: not alive(pid), "the daemon to be gone")
    assert not alive(children[0].pid)
    assert "reason=signal=SIGKILL" in stuck.events("close")[0]
    assert stuck.events()[-1] == "stopped"


def test_sigint_ends_it_at_once(stuck):
    pid = stuck.pid
    os.kill(pid, signal.SIGINT)
    wait_for(lambda: not alive(pid), "the daemon to be gone")
    assert stuck.run("status").returncode == 3


def test_a_draining_daemon_takes_no_new_client(stuck):
    address = stuck.address
    os.kill(stuck.pid, signal.SIGTERM)
    wait_for(lambda: stuck.status()["state"] == "draining", "the drain")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=DEADLINE)
    assert stuck.status()["clients"] == 1


def test_a_drain_that_takes_too_long_ends_the_children(echod):
    echod.start(drain_timeout="300ms")
    with echod.connect() as conn:
        conn.sendall(b"x")
        conn.recv(1)
        (child,) = echod.children()
        child.suspend()
        echod.run("stop", check=0)
        assert not alive(child.pid)
    assert "drain killed=1" in echod.events("drain")
    assert "reason=signal=SIGKILL" in echod.events("close")[0]


def test_a_daemon_that_does_not_react(running):
    with running.connect() as conn:
        conn.sendall(b"x")
        conn.recv(1)
        process, children = running.process(), running.children()
        process.suspend()
        done = running.run("stop", "--timeout", "0.5", check=1)
        assert str(process.pid) in done.stderr
        assert "--force" in done.stderr
        assert alive(process.pid)
        running.run("stop", "--timeout", "0.1", "--force", check=0)
        assert not alive(process.pid)
        wait_for(lambda: not alive(children[0].pid), "the child to be gone")
    assert running.run("status").returncode == 3


def test_stop_when_nothing_runs(echod):
    assert "not running" in echod.run("stop", check=0).stdout


def test_stop_without_a_scoreboard(running):
    pid = running.pid
    (running.home / "echod.pid.scoreboard").unlink()
    running.run("stop", check=0)
    assert not alive(pid)


def test_stop_under_heavy_load(echod):
    """Clients connect as fast as they can; a stop is never starved by them."""
    echod.start(log_clients="no", max_children=50)
    address, served, over = echod.address, [], threading.Event()

    def connect_and_again():
        while not over.is_set():
            try:
                with socket.create_connection(address, timeout=DEADLINE) as conn:
                    conn.sendall(b"x")
                    served.append(conn.recv(1))
            except OSError:
                continue

    with ThreadPoolExecutor(16) as pool:
        for _ in range(16):
            pool.submit(connect_and_again)
        try:
            wait_for(lambda: len(served) > 200, "some load")
            pid = echod.pid
            echod.run("stop", check=0)
        finally:
            over.set()
    assert not alive(pid)
    assert not servers(echod)


def test_restart_with_a_broken_config_stops_nothing(running):
    pid = running.pid
    running.write(max_children="many")
    assert f"{running.config}:" in running.run("restart", check=6).stderr
    assert running.pid == pid
    assert alive(pid)
    running.write(max_children="7")
    running.run("restart", check=0)
    assert running.pid != pid
    assert not alive(pid)
    assert running.status()["max_children"] == 7


@pytest.fixture
def unrelated():
    """Return an unrelated process, which has to live through everything."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        assert process.poll() is None, "an unrelated process was ended"
        process.kill()


CONTENTS = ["{sleep}\n", "{sleep}", "", "garbage\n", "9" * 5000, "-1\n", "1\n", "0\n", "\0\xff", " {sleep} {sleep}\n"]
NAMES = ["sleep", "no-newline", "empty", "garbage", "huge", "minus-one", "init", "zero", "binary", "two"]


@pytest.mark.parametrize("content", CONTENTS, ids=NAMES)
def test_a_pid_file_that_names_an_unrelated_process(echod, unrelated, content):
    content = content.format(sleep=unrelated.pid)
    echod.pid_file.write_text(content)
    assert echod.run("status").returncode == (1 if content else 3)
    for command, code in (("stop", 0), ("reload", 7), ("reopen", 7), ("start", 0)):
        echod.pid_file.write_text(content)
        echod.run(command, check=code)
        assert unrelated.poll() is None
    pid = echod.pid
    assert servers(echod) == [pid]
    echod.pid_file.write_text(content)  # as a daemon whose user has been taken over might
    echod.run("reload", check=0)
    assert echod.status()["pid"] == pid
    echod.run("restart", check=0)
    assert not alive(pid)
    echod.pid_file.write_text(content)
    echod.run("stop", "--timeout", "5", "--force", check=0)
    assert not servers(echod)


def test_a_daemon_that_died_leaves_nobody_else_in_danger(running, unrelated):
    pid = running.pid
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid), "the daemon to be dead")
    running.pid_file.write_text(f"{unrelated.pid}\n")
    running.run("restart", check=0)
    assert servers(running) == [running.pid]


def test_without_clients_nothing_is_waited_for(running, tmp_path):
    trace = tmp_path / "trace"
    command = [need("strace"), "-p", str(running.pid), "-o", str(trace)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert "attached" in strace.stderr.readline()
        running.run("stop", check=0)
        strace.wait(DEADLINE)
    after = trace.read_text().partition("--- SIGTERM")[2]
    assert after.count("poll(") == 2, "the one that the signal has interrupted, and one that the backlog is empty"
