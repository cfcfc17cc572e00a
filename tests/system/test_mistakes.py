"""Each mistake in examples/mistakes fails as it says; the textbook's server and echod do not."""

from __future__ import annotations

import fcntl
import itertools
import os
import select
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.daemon import Echod
from support.network import Hosts
from support.processes import descriptors, zombies
from support.sockets import receive, receive_all
from support.textbook import EXAMPLES, MISTAKES, Textbook
from support.wait import DEADLINE, alive, need, need_root, wait_for

TESTED: list[str] = []
UIDS = itertools.count(100 * os.getpid())
PLAIN_ACK = "tcp flags & (fin | syn | psh | ack) == ack"


def of(mistake, *others):
    """Run a test with the mistake, with the textbook's server, and with `others`; `server.mistaken` tells which."""
    TESTED.append(mistake)
    return pytest.mark.parametrize("server", [mistake, "textbook", *others], indirect=True)


@pytest.fixture
def server(request, public):
    daemon: Any
    if request.param == "echod":
        daemon = Echod(public)
        daemon.mistaken = False
        daemon.start = lambda **_: daemon.run("start").returncode == 0
        daemon.kill = lambda: kill(daemon.pid)
    else:
        daemon = Textbook(public, request.param.removeprefix("textbook"), cap=10)
    yield daemon
    daemon.cleanup()


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid), "its end")


def served(conn):
    conn.sendall(b"x")
    return conn.recv(1) == b"x"


def nothing_comes(conn):
    return not select.select([conn], [], [], 0)[0]


def test_every_mistake_has_its_test():
    assert sorted(TESTED) == MISTAKES


def test_the_textbooks_server_is_short_and_each_diff_tells_its_lesson():
    assert len((EXAMPLES / "textbook.py").read_text().splitlines()) <= 60
    for name in MISTAKES:
        text = (EXAMPLES / "mistakes" / f"{name}.diff").read_text()
        lesson, _, diff = text.partition("\n\n--- ")
        assert lesson
        assert len([line for line in diff.splitlines() if line[:1] in "+-"]) <= 10


@of("parent_keeps_connection", "echod")
def test_the_end_of_a_client(server):
    assert server.start()
    with server.connect() as conn:
        assert served(conn)
        conn.shutdown(socket.SHUT_WR)
        wait_for(lambda: not server.children(), "the child to be reaped")
        if server.mistaken:
            assert nothing_comes(conn)
        else:
            assert conn.recv(1) == b""
    sockets = [name for name in descriptors(server.pid).values() if name.startswith("socket:")]
    assert (len(sockets) > 1) == server.mistaken


@of("nobody_reaps", "echod")
def test_children_that_have_ended(server):
    assert server.start()
    for _ in range(5):
        with server.connect() as conn:
            assert served(conn)
    count = 5 if server.mistaken else 0
    wait_for(lambda: len(zombies(server.pid)) == len(server.children()) == count, "them to be gone, or zombies")


@of("one_wait_per_signal", "echod")
def test_many_children_that_end_while_the_server_does_not_run(server):
    assert server.start()
    conns = [server.connect() for _ in range(5)]
    assert all(map(served, conns))
    os.kill(server.pid, signal.SIGSTOP)
    for conn in conns:
        conn.close()
    wait_for(lambda: len(zombies(server.pid)) == 5, "their ends")
    os.kill(server.pid, signal.SIGCONT)
    with server.connect() as conn:
        assert served(conn)
        if server.mistaken:
            assert len(zombies(server.pid)) >= 3
        else:
            wait_for(lambda: not zombies(server.pid), "all to be reaped")


@of("handler_writes_log", "echod")
def test_a_child_that_ends_while_the_server_writes_its_log(server, public):
    fifo = public / "fifo"
    os.mkfifo(fifo)
    log = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    if isinstance(server, Textbook):
        assert server.start(log=fifo)
    else:
        server.foreground("-o", "log=stderr", stderr=log)
    with server.connect() as first:
        assert served(first)
        drain(log)
        os.write(log, bytes(fcntl.fcntl(log, fcntl.F_SETPIPE_SZ, 4096)))
        with server.connect() as second:
            if isinstance(server, Textbook):
                wait_for(lambda: writing(server.pid), "the server to write its log")
            else:  # which does not wait for who does not read its log
                assert served(second)
            left = len(server.children()) - 1
            first.close()
            wait_for(lambda: len(server.children()) == left, "the child to be reaped")
            if server.mistaken:
                wait_for(lambda: drain(log) and not alive(server.pid), "its end")
            else:
                drain(log)
                assert served(second)
    os.close(log)


def writing(pid):
    with open(f"/proc/{pid}/syscall") as file:
        return file.read().split()[0] == "1"  # write(2) on x86-64


def drain(log):
    while select.select([log], [], [], 0)[0]:
        os.read(log, 1 << 16)
    return True


@of("child_keeps_listener", "echod")
def test_start_after_kill_while_a_client_is_served(server):
    assert server.start()
    with server.connect() as conn:
        assert served(conn)
        server.kill()
        assert server.start() != server.mistaken
        assert served(conn)
    if server.mistaken:
        assert "Address already in use" in server.log.read_text()


@of("child_returns", "echod")
def test_what_a_child_leaves_behind(server):
    assert server.start()
    pid = server.pid
    with server.connect() as conn:
        assert served(conn)
    wait_for(lambda: not psutil.Process(pid).children(), "the child to be reaped")
    assert server.pid_file.exists() != server.mistaken
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not alive(pid), "its end")
    text = server.log.read_text()
    assert text.count("listening on port") + text.count("ready listen") == 1 + server.mistaken


@of("accept_must_succeed", "echod")
def test_a_client_that_is_gone_before_it_is_accepted(server):
    need_root()
    words = ("-f", "-o", os.devnull, "-e", "trace=accept4", "-e", "inject=accept4:error=ECONNABORTED:when=1")
    refused = [need("strace"), *words]
    if isinstance(server, Textbook):
        assert server.start(prefix=refused) or server.mistaken
    else:
        server.prefix = refused
        server.foreground(stderr=subprocess.DEVNULL)
        server.prefix = ()
    if server.mistaken:
        wait_for(lambda: "ConnectionAbortedError" in server.log.read_text(), "the error")
        wait_for(lambda: not alive(server.pid), "its end")
    else:
        with server.connect() as conn:
            assert served(conn)


@of("no_cap", "echod")
def test_more_clients_than_processes(server, public):
    need_root()
    uid = next(UIDS)  # whose zombies none else counts
    limited = [need("setpriv"), f"--reuid={uid}", "--clear-groups", need("prlimit"), "--nproc=16"]
    os.chown(public, uid, -1)
    if isinstance(server, Textbook):
        assert server.start(prefix=limited)
    else:
        server.prefix = limited
        server.write(max_children=10)
        assert server.start()
    conns = [server.connect() for _ in range(30)]
    for conn in conns[:10]:
        assert served(conn)
    if server.mistaken:
        wait_for(lambda: not alive(server.pid), "its end")
    else:
        assert len(server.children()) == 10
    for conn in conns:
        conn.close()


@of("one_fork", "echod")
def test_a_terminal_that_the_server_opens(server):
    master, slave = os.openpty()
    assert server.start(log=os.ttyname(slave))
    stat = Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()
    session, terminal = int(stat[3]), int(stat[4])
    assert (session == server.pid) == (terminal != 0) == server.mistaken
    os.close(master)
    os.close(slave)
    if server.mistaken:
        wait_for(lambda: not alive(server.pid), "its end by SIGHUP")
    else:
        with server.connect() as conn:
            assert conn


@of("descriptors_not_replaced", "echod")
def test_what_a_client_gets_of_the_log(server):
    assert server.start()
    with server.connect() as conn:
        if server.mistaken:
            assert conn.recv(7) == b"client "
        else:
            conn.sendall(b"hello")
            conn.shutdown(socket.SHUT_WR)
            assert receive_all(conn) == b"hello"


@of("nagle", "echod")
def test_an_echo_in_two_parts_to_a_client_that_acknowledges_late(server):
    with Hosts() as hosts:
        prefix = [need("ip"), "netns", "exec", hosts.here]
        hosts.sysctl(hosts.here, "net/ipv4/tcp_early_retrans", 0)  # a loss probe sends what Nagle's algorithm holds
        server.prefix = prefix
        assert server.start(prefix=prefix)
        with hosts.enter(hosts.here), socket.create_connection(("127.0.0.1", server.port), DEADLINE) as conn:
            assert served(conn)
            hosts.drop(hosts.here, f"tcp dport {server.port}", PLAIN_ACK)
            conn.sendall(bytes(5000))
            if server.mistaken:
                assert len(conn.recv(5000)) == 4096
                held = [*prefix, need("ss"), "-tinH", f"sport = :{server.port}"]
                wait_for(lambda: "notsent:904" in subprocess.check_output(held, text=True), "the rest to be held")
                assert nothing_comes(conn)
            else:
                assert receive(conn, 5000) == bytes(5000)
        server.cleanup()


@of("pid_file_means_running", "echod")
def test_start_after_kill(server):
    assert server.start()
    server.kill()
    assert server.pid_file.exists()
    assert server.start() != server.mistaken
