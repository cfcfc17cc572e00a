"""The life of a daemon on machines unlike this one. Each step is a test, so that one that fails hides no other."""

from __future__ import annotations

import json
import os
import socket

import pytest

from support.processes import NOBODY, proc_status, servers
from support.sockets import port_of_its_own, receive, receive_all
from support.wait import DEADLINE, alive, wait_for

# What Python finds in a place; FACTS has what must be so.
PYTHON_FACTS = """
import errno, json, os, socket, struct, sys
try:
    import ctypes
except ImportError:
    ctypes = None
def call(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    except AttributeError:
        return "missing"
def bind(family, address):
    with socket.socket(family) as sock:
        sock.bind((address, 0))
def interface():
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, 62, 0x7FFFFFFF)
def close_range():
    if ctypes.CDLL(None, use_errno=True).syscall(436, 1000, 1000, 0):
        raise OSError(ctypes.get_errno(), "close_range")
json.dump({
    "long": struct.calcsize("l"),
    "SO_RCVTIMEO": socket.SO_RCVTIMEO,
    "pidfd_open": call(lambda: os.pidfd_open(os.getpid())),
    "memfd_create": call(lambda: os.memfd_create("test")),
    "fallocate": call(lambda: os.posix_fallocate(0, 0, 0)),
    "close_range": call(close_range),
    "interface": call(interface),
    "127.0.0.1": call(bind, socket.AF_INET, "127.0.0.1"),
    "::1": call(bind, socket.AF_INET6, "::1"),
}, sys.stdout)
"""
FACTS: dict[str, dict[str, object]] = {
    "i386": {"long": 4, "SO_RCVTIMEO": 20},
    "armhf": {"long": 4, "SO_RCVTIMEO": 66},
    "linux-4.18": {"pidfd_open": "ENOSYS", "close_range": "ENOSYS", "interface": "ENOPROTOOPT"},
    "linux-5.4": {"pidfd_open": None, "close_range": "ENOSYS", "interface": "EPERM"},
    "no-calls": {"pidfd_open": "ENOSYS", "close_range": "ENOSYS", "memfd_create": "ENOSYS"},
    "sandbox": {"pidfd_open": "EPERM", "close_range": "EPERM", "memfd_create": "EPERM"},
    "bare-python": {
        "pidfd_open": "missing",
        "close_range": "missing",
        "memfd_create": "missing",
        "fallocate": "missing",
    },
    "no-ipv6-address": {"127.0.0.1": None, "::1": "EADDRNOTAVAIL"},
    "no-ipv6-family": {"127.0.0.1": None, "::1": "EAFNOSUPPORT"},
    "ipv6-only": {"127.0.0.1": "EADDRNOTAVAIL", "::1": None},
    "no-ipv4-family": {"127.0.0.1": "EAFNOSUPPORT", "::1": None},
}


def echoed(daemon, data):
    """Send bytes and a half-close through a daemon, and return what comes back."""
    with daemon.connect() as conn:
        conn.sendall(data)
        conn.shutdown(socket.SHUT_WR)
        return receive_all(conn)


def answers(conn):
    """Tell whether a message comes back."""
    conn.sendall(b"message")
    return receive(conn, len(b"message")) == b"message"


def test_the_place_is_what_its_name_says(place, request):
    done = place.run("-c", PYTHON_FACTS)
    assert done.returncode == 0, done
    expected = FACTS[request.node.callspec.id]
    found = json.loads(done.stdout)
    assert {name: found[name] for name in expected} == expected


def test_check(place):
    """The default pid file would make a directory below /tmp for an ordinary user."""
    done = place.run("-m", "echod", "-c", "/dev/null", "-o", "pid_file=/nowhere/echod.pid", "check")
    assert (done.returncode, done.stdout.splitlines()[1]) == (0, "[echod]"), done


def test_start(serving):
    user = NOBODY if os.geteuid() == 0 else os.geteuid()
    assert serving.events("ready")
    assert proc_status(serving.pid)["Uid"].split() == [str(user)] * 4


def test_echo(serving):
    data = bytes(range(256)) * 1000
    assert echoed(serving, data) == data


def test_echoc(place, serving):
    host, port = serving.address
    done = place.run("-m", "echod.echoc", host, str(port), input="hello\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


def test_status(serving):
    before = serving.status()
    assert (before["state"], before["pid"]) == ("running", serving.pid)
    assert echoed(serving, b"x") == b"x"
    wait_for(lambda: serving.status()["accepted"] == before["accepted"] + 1, "the client to be counted")


def test_reload(serving):
    serving.write(max_children=7)
    assert "max_children" in serving.run("reload", check=0).stdout
    assert serving.status()["max_children"] == 7
    assert echoed(serving, b"x") == b"x"


def test_reload_to_another_address(place, daemon):
    """The new address answers, the old one refuses, and a client of the old one is still served."""
    with place.network():
        before, after = port_of_its_own(), port_of_its_own()
    daemon.start(listen=place.at(before))
    with daemon.connect() as conn:
        assert answers(conn)
        daemon.write(listen=place.at(after))
        daemon.run("reload", check=0)
        with pytest.raises(ConnectionRefusedError):
            daemon.connect()
        with place.connect(after) as other:
            assert answers(other)
        assert answers(conn)


def test_upgrade(serving):
    pid, upgrades = serving.pid, len(serving.events("upgrade"))
    with serving.connect() as conn:
        assert answers(conn)
        serving.run("upgrade", check=0)
        assert answers(conn)
    assert serving.pid == pid
    assert alive(pid)
    assert len(serving.events("upgrade")) == upgrades + 1
    assert echoed(serving, b"x") == b"x"


@pytest.mark.parametrize(("setting", "reason"), [("idle_timeout", "idle"), ("max_lifetime", "lifetime")])
def test_limits(daemon, setting, reason):
    daemon.start(**{setting: "1s"})
    with daemon.connect() as conn:
        assert answers(conn)
        assert conn.recv(1) == b""
    wait_for(lambda: daemon.events("close"), "the client's child to be reaped")
    assert f"reason={reason}" in daemon.events("close")[0].split()


def test_stop(daemon):
    daemon.start()
    with daemon.connect() as conn:
        assert answers(conn)
        family = [daemon.pid, *(child.pid for child in daemon.children())]
        daemon.run("stop", "--timeout", DEADLINE, check=0)
        assert conn.recv(1) == b""
    assert not any(map(alive, family))
    assert servers(daemon) == []
    assert sorted(path.name for path in daemon.home.iterdir()) == ["echod.conf", "echod.log"]
    with pytest.raises(ConnectionRefusedError):
        daemon.connect()
