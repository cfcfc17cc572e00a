"""Sockets that a service manager passes to `run`: those of TCP and MPTCP are served, and the others are named.

And options of sockets that a protocol or a sandbox refuses: the other options are set anyway.
"""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from support import seccomp
from support.sockets import receive
from support.wait import DEADLINE, alive, skip, wait_for

IPPROTO_MPTCP = 262
# The program is its own parent's choice: LISTEN_PID must be the pid of the process that becomes `echod run`.
PASS = 'LISTEN_PID=$$ LISTEN_FDS=$1 && export LISTEN_PID LISTEN_FDS && shift && exec "$@"'


def listener(protocol=0):
    """Return a listening socket on a free port of 127.0.0.1."""
    try:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
    except OSError:
        skip("MPTCP in the kernel")
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


def datagram():
    """Return a socket of UDP."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def unix():
    """Return a listening socket of the family AF_UNIX, whose name the kernel chooses."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind("")
    sock.listen()
    return sock


def unbound():
    """Return a socket of TCP that does not listen."""
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


@pytest.fixture
def passing(echod):
    """Return a function that starts `echod run`, with sockets from descriptor 3 on, and returns the process."""
    started = []

    def passing(*sockets, prefix=()):
        def lay_out():
            moved = [os.dup2(sock.fileno(), 100 + number) for number, sock in enumerate(sockets)]
            for number, fd in enumerate(moved):
                os.dup2(fd, 3 + number)

        words = [*prefix, "/bin/sh", "-c", PASS, "sh", str(len(sockets)), *echod.command("run")]
        process = subprocess.Popen(
            words,
            preexec_fn=lay_out,  # noqa: PLW1509 - no thread of this process holds a lock
            close_fds=False,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return started[-1]

    yield passing
    for process in started:
        process.kill()
        process.communicate()


def serves(sock):
    """Return a connection to a listening socket, once it has echoed a message."""
    conn = socket.create_connection(sock.getsockname(), timeout=DEADLINE)
    conn.sendall(b"message")
    assert receive(conn, 7) == b"message"
    return conn


def test_those_of_tcp_are_served_and_the_others_named(echod, passing):
    first, second = listener(), listener()
    sockets = [datagram(), first, unix(), second, unbound()]
    process = passing(*sockets)
    for sock in (first, second):
        serves(sock).close()
    assert sorted(echod.status()["listen"]) == sorted(f"127.0.0.1:{sock.getsockname()[1]}" for sock in (first, second))
    process.terminate()
    _, stderr = process.communicate(timeout=DEADLINE)
    warnings = [line for line in stderr.splitlines() if "warning" in line]
    assert [line.partition("descriptor ")[2] for line in warnings] == [
        f"{fd}: is not a listening TCP socket; it is not used" for fd in (3, 5, 7)
    ]
    assert process.returncode == 0
    for sock in sockets:
        sock.close()


def test_without_one_of_tcp_the_code_is_6(echod, passing):
    sockets = [datagram(), unix()]
    process = passing(*sockets)
    _, stderr = process.communicate(timeout=DEADLINE)
    assert process.returncode == 6
    assert stderr.count("\n") == 1
    assert stderr.startswith("echod: no listening TCP socket was passed: descriptor 3: ")
    assert "; descriptor 4: " in stderr
    assert not echod.pid_file.exists()
    for sock in sockets:
        sock.close()


@pytest.mark.parametrize("client", [0, IPPROTO_MPTCP])
def test_mptcp(echod, passing, client):
    """Its listener refuses SO_OOBINLINE. The time limit, keep-alive and TCP_NODELAY hold anyway."""
    listening = listener(IPPROTO_MPTCP)
    echod.write(idle_timeout="1s", log_level="info")
    process = passing(listening)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, client) as conn:
        conn.settimeout(DEADLINE)
        conn.connect(listening.getsockname())
        conn.sendall(b"message")
        assert receive(conn, 7) == b"message"
        if not client:
            conn.send(b"!", socket.MSG_OOB)  # MPTCP has no urgent bytes
            assert receive(conn, 1) == b"!"
        assert conn.recv(1) == b""  # idle
    wait_for(lambda: echod.events("close"), "the client's child to be reaped")
    assert "reason=idle" in echod.events("close")[0].split()
    for name in ("TCP_NODELAY", "TCP_KEEPINTVL"):
        assert listening.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) in (1, 20)
    assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    echod.run("reload", check=0)
    with serves(listening):
        process.terminate()
        assert process.wait(DEADLINE) == 0
    refused = [line for line in echod.log.read_text().splitlines() if "SO_OOBINLINE" in line]
    assert len(refused) <= 1  # named once, whatever reloads come
    listening.close()


OPTIONS = [
    ("SOL_SOCKET", "SO_OOBINLINE"), ("SOL_SOCKET", "SO_RCVTIMEO"), ("SOL_SOCKET", "SO_SNDTIMEO"),
    ("SOL_SOCKET", "SO_KEEPALIVE"), ("IPPROTO_TCP", "TCP_NODELAY"), ("IPPROTO_TCP", "TCP_KEEPIDLE"),
    ("IPPROTO_TCP", "TCP_KEEPINTVL"), ("IPPROTO_TCP", "TCP_KEEPCNT"),
]  # fmt: skip


@pytest.mark.parametrize(("level", "name"), OPTIONS)
def test_an_option_that_is_refused_is_named_once_and_takes_no_other_with_it(echod, passing, level, name):
    listeners = [listener(), listener()]
    rule = seccomp.option(getattr(socket, level), getattr(socket, name), 95)
    process = passing(*listeners, prefix=seccomp.prefix(rule))
    for sock in listeners:
        serves(sock).close()
    echod.run("reload", check=0)
    lines = [line for line in echod.events("error") if "setsockopt" in line]
    assert [line.partition("why=")[2] for line in lines] == [f"'{name}: Operation not supported'"]
    with unbound() as untouched:
        for other_level, other in OPTIONS:
            option = getattr(socket, other_level), getattr(socket, other), 16 if other.endswith("TIMEO") else 4
            assert (listeners[0].getsockopt(*option) == untouched.getsockopt(*option)) == (other == name), other
    process.terminate()
    assert process.wait(DEADLINE) == 0
    assert not alive(process.pid)
    for sock in listeners:
        sock.close()
