"""Three echods behind HAProxy, as docs/scaling.md has it, each in a network namespace of its own."""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import random
import signal
import socket
import subprocess
import threading

import pytest

from support.daemon import Echod, give
from support.network import Switch
from support.processes import servers
from support.systemd_box import UNITS
from support.wait import DEADLINE, need, wait_for

EXAMPLE = UNITS.parent / "etc" / "haproxy.cfg.example"
CLIENTS, BALANCER = "192.0.2.1", "192.0.2.10"
NAMES = {"echo1": "192.0.2.11", "echo2": "192.0.2.12", "echo3": "192.0.2.13"}


class Clients:
    """Clients one after another in each of a few threads: what each has had, by its address."""

    def __init__(self, switch):
        self._switch, self._enough = switch, threading.Event()
        self.echoed, self.wrong = 0, {}
        self._begun = [0] * 4  # clients, of each thread
        self._threads = [threading.Thread(target=self._run, args=[number]) for number in range(4)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number):
        self._switch.enter("clients")
        chance = random.Random(number)
        while not self._enough.is_set():
            self._begun[number] += 1
            data = chance.randbytes(chance.choice([1, 1000, 100_000]))
            with socket.socket() as conn:
                try:
                    conn.settimeout(DEADLINE)
                    conn.connect((BALANCER, 27978))
                    name = "{}:{}".format(*conn.getsockname())
                    sender = threading.Thread(target=send, args=[conn, data])
                    sender.start()
                    back = b"".join(iter(functools.partial(conn.recv, 1 << 16), b""))
                    sender.join()
                    if back == data:
                        self.echoed += 1
                    else:
                        self.wrong[name] = f"{len(back)} of {len(data)} bytes"
                except OSError as error:
                    self.wrong[name] = repr(error)

    def more(self, count):
        """Wait until so many more have had their echo."""
        before = self.echoed
        wait_for(lambda: self.echoed >= before + count, f"{count} more echoes, {self.wrong}")

    def others(self):
        """Wait until those that there are now have ended."""
        before = [*self._begun]
        wait_for(lambda: all(map(operator.gt, self._begun, before)), "other clients")


def send(conn, data):
    """Send all, and the end of it."""
    with contextlib.suppress(OSError):  # the receiver tells
        conn.sendall(data)
        conn.shutdown(socket.SHUT_WR)


class Haproxy:
    """HAProxy with the example's config, and what it logs: which server each client has had."""

    def __init__(self, home, switch):
        config = EXAMPLE.read_text().replace("/run/haproxy/admin.sock", f"{home}/admin.sock")
        config = config.replace("global\n", "global\n    log stdout format raw local0\n")
        config = config.replace("defaults\n", 'defaults\n    log global\n    log-format "client %ci:%cp %s %ts"\n')
        for name in ("connect", "check"):  # a busy machine is not a server that is down
            config = config.replace(f"timeout {name} 2s", f"timeout {name} 20s")
        (home / "haproxy.cfg").write_text(config)
        self._log = home / "haproxy.log"
        self._admin = home / "admin.sock"
        command = [*switch.prefix("balancer"), need("haproxy"), "-db", "-f", str(home / "haproxy.cfg")]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.DEVNULL)

    def ask(self, command):
        """Send a command to its admin socket and return the answer."""
        with socket.socket(socket.AF_UNIX) as conn:
            conn.settimeout(DEADLINE)
            conn.connect(str(self._admin))
            conn.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: conn.recv(1 << 16), b"")).decode()

    def stat(self, column):
        """Return a column of the statistics for each server."""
        if not self._admin.exists():
            return {}
        names, *rows = [line.split(",") for line in self.ask("show stat").splitlines() if line]
        at = names.index(column)
        return {row[1]: row[at] for row in rows if row[0] == "echo" and row[1] in NAMES}

    def all_up(self):
        """Tell whether the check has found its echo at each server."""
        return self.stat("status") == dict.fromkeys(NAMES, "UP") and set(self.stat("check_status").values()) == {"L7OK"}

    def sessions(self, name):
        """Return how many clients a server has had."""
        return int(self.stat("stot")[name])

    def servers(self):
        """Return which server each client has had that is gone."""
        lines = [line.split() for line in self._log.read_text().splitlines() if line.startswith("client ")]
        return {client: server for _, client, server, _ in lines}

    def close(self):
        """End it."""
        self._process.terminate()
        self._process.wait(DEADLINE)


@pytest.fixture
def machines(public):
    """Yield the switch, the echods by name, and HAProxy before them."""
    with Switch(clients=CLIENTS, balancer=BALANCER, **NAMES) as switch, contextlib.ExitStack() as stack:
        echods = {}
        for name, address in NAMES.items():
            home = public / name
            home.mkdir()
            give(home)
            settings = {"listen": f"{address}:27978", "proxy_from": BALANCER, "log_summary": BALANCER}
            echods[name] = Echod(home, prefix=switch.prefix(name), **settings)
            stack.callback(echods[name].cleanup)
            echods[name].start()
        haproxy = Haproxy(public, switch)
        stack.callback(haproxy.close)
        wait_for(haproxy.all_up, "HAProxy to find all three up")
        yield switch, echods, haproxy


def test_one_is_stopped_and_one_killed(machines):
    switch, echods, haproxy = machines
    with Clients(switch) as clients:
        wait_for(lambda: all(haproxy.sessions(name) > 10 for name in NAMES), "each to have its share")
        echods["echo1"].run("stop", check=0)
        clients.more(40)
        assert clients.wrong == {}, "who was at the one that stopped has all of the echo, and nobody was refused"
        assert f"peer={CLIENTS}:" in echods["echo1"].log.read_text(), "the PROXY protocol names the client"
        echods["echo1"].run("start", check=0)
        wait_for(haproxy.all_up, "it to be found up again: where two of three are gone three tries may not do")
        before = haproxy.sessions("echo1")
        os.kill(echods["echo2"].pid, signal.SIGKILL)
        wait_for(lambda: not servers(echods["echo2"]), "its children to end: a fresh one has the listening socket, too")
        clients.others()
        were_there = set(clients.wrong)
        clients.more(40)
        assert clients.wrong.keys() == were_there, "nobody notices that it is gone"
        assert haproxy.sessions("echo1") > before, "it has its share again"

    wait_for(lambda: clients.wrong.keys() <= haproxy.servers().keys(), "HAProxy to tell of those that failed")
    server_of = haproxy.servers()
    assert {server_of[name] for name in clients.wrong} <= {"echo2"}, clients.wrong


def test_one_is_taken_out_before_it_stops(machines):
    switch, echods, haproxy = machines
    with contextlib.ExitStack() as stack:
        thread_done = threading.Event()
        conns: list[socket.socket] = []

        def connect():
            switch.enter("clients")
            conns.extend(socket.create_connection((BALANCER, 27978), DEADLINE) for _ in range(3))
            thread_done.set()

        threading.Thread(target=connect).start()
        assert thread_done.wait(DEADLINE)
        for conn in conns:
            stack.enter_context(conn)
            conn.sendall(b"x")
            assert conn.recv(1) == b"x"
        with Clients(switch) as clients:
            assert haproxy.ask("set server echo/echo1 state drain") == "\n"
            wait_for(lambda: int(haproxy.stat("scur")["echo1"]) <= 1, "all but the one that stays to go")
            before = haproxy.sessions("echo1")
            clients.more(40)
            assert haproxy.sessions("echo1") == before
            for conn in conns:
                conn.sendall(b"still served")
                assert conn.recv(100) == b"still served"
                conn.shutdown(socket.SHUT_WR)
                assert conn.recv(100) == b""
            echods["echo1"].run("stop", check=0)
            clients.more(20)
        assert clients.wrong == {}
