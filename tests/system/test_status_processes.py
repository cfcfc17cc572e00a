"""`echod status --processes`: a daemon in order, and what is told of one that is not."""

from __future__ import annotations

import os
import re
import signal
import socket
from typing import Any

import pytest

from support.processes import limit_descriptors, state
from support.wait import DEADLINE, need, need_root, wait_for

LINE = re.compile(r"(ok|NOT OK|\?) +([a-z]+(?: [a-z]+)?(?: \d+)?)  +(.*)")


def lines(echod, code, **kwargs):
    """Return verdict and text by what is looked at."""
    text = echod.run("status", "--processes", check=code, **kwargs).stdout
    found: list[Any] = [
        re.fullmatch(r"(ok|NOT OK|\?) +([a-z]+(?: [a-z]+)?(?: \d+)?)  +(.*)", line) for line in text.splitlines()
    ]
    assert all(found), text
    return {line[2]: (line[1], line[3]) for line in found}


def bad(found):
    return {what: text for what, (verdict, text) in found.items() if verdict != "ok"}


def test_a_daemon_in_order_with_its_clients(echod):
    echod.start(log_level="debug", max_lifetime="1h", listen="127.0.0.1:0, [::1]:0", umask="027")
    assert bad(lines(echod, 0)) == {}
    conns = [echod.connect() for _ in range(3)]
    wait_for(lambda: echod.status()["clients"] == 3, "the clients")
    found = lines(echod, 0)
    children = [text for what, (_, text) in found.items() if what.startswith("child ")]
    for conn in conns:
        host, port = conn.getsockname()
        assert any(f"has connection with {host}:{port} for itself" in text for text in children)
        conn.close()
    assert len(children) == 3
    descriptors = " ".join(text for what, (_, text) in found.items() if what.startswith("descriptor"))
    for what in ("listens on 127.0.0.1:", "listens on [::1]:", f"pid file: {echod.pid_file}", f"log: {echod.log}"):
        assert what in descriptors
    assert found["umask"][1].startswith("0027 ")
    if os.geteuid() == 0:
        assert found["user"][1].startswith("nobody ")


def test_a_daemon_that_is_stopped(running):
    process = running.process()
    with running.connect():
        wait_for(lambda: running.status()["clients"] == 1, "the client")
        wait_for(lambda: state(running.pid) == "S", "the daemon's sleep")  # fork(3) blocks signals for a moment
        process.suspend()
        child = running.children()[0].pid
    try:
        wait_for(lambda: state(child) == "Z", "the child's end")
        found = bad(lines(running, 1))
    finally:
        process.resume()
    assert found["state"].startswith("stopped by a signal (SIGSTOP); SIGCONT lets it go on")
    assert found["zombies"].startswith(f"{child} ")
    assert set(found) == {"state", "zombies"}
    running.wait_idle()
    assert bad(lines(running, 0)) == {}


def test_what_is_not_as_it_should_be_is_told(running):
    need_root()
    running.write(directory="/tmp", umask="077")
    with running.connect():
        child = wait_for(running.children, "the child")[0]
        limit_descriptors(running.pid, 12)
        child.send_signal(signal.SIGSTOP)
        found = bad(lines(running, 1))
        child.send_signal(signal.SIGCONT)
    assert found["open files"].startswith("at most 12 ")
    assert found["directory"] == "/ (should be: /tmp)"
    assert found["umask"] == "0022 (should be: 0077)"
    assert found[f"child {child.pid}"].startswith("stopped by a signal")


def test_in_the_foreground(echod):
    process = echod.foreground(stderr=-3)
    with echod.connect():
        wait_for(lambda: echod.status()["clients"] == 1, "the client")
        found = lines(echod, 0)
    assert "any: it runs in the foreground" in found["parent"][1]
    assert process.poll() is None


def test_who_may_not_look_is_told_what_cannot_be_told(running):
    need_root()
    prefix = [need("setpriv"), "--reuid", "5", "--regid", "5", "--clear-groups", "--"]
    running.prefix = prefix
    try:
        found = lines(running, 4)
    finally:
        running.prefix = ()
    assert found["descriptors"][0] == found["memory"][0] == "?"
    assert found["user"][0] == found["terminal"][0] == "ok"


@pytest.mark.parametrize(("code", "word"), [(3, "not running"), (1, "crashed or killed")])
def test_where_none_runs(echod, code, word):
    if code == 1:
        echod.start()
        process = echod.process()
        process.kill()
        process.wait(DEADLINE)
    assert word in echod.run("status", "--processes", check=code).stdout


def test_it_is_not_disturbed_by_clients_that_come_and_go(running):
    address, children = running.address, 0
    for _ in range(3):
        conns = [socket.create_connection(address, DEADLINE) for _ in range(30)]
        for conn in conns[::2]:
            conn.close()
        found = lines(running, 0)
        children += sum(what.startswith("child ") for what in found)
        for conn in conns:
            conn.close()
    assert children
