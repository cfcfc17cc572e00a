"""A stop serves those who have connected before it, as far as there is room; its status tells what is closed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket

from support.sockets import receive_all
from support.wait import DEADLINE, wait_for


def stop_reading(echod, conn):
    """Send until no more is taken, and read nothing: the session is stuck with its echo."""
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    conn.setblocking(False)
    seen = []

    def is_stuck():
        with contextlib.suppress(BlockingIOError):
            while True:
                conn.send(bytes(1 << 16))
        children = echod.status()["children"]
        if not children:  # it is in the accept queue still
            return False
        child = children[0]
        seen.append((child["bytes_in"], child["bytes_out"]))
        return seen[-2:] == [seen[-1]] * 2 and child["bytes_in"] > child["bytes_out"]

    wait_for(is_stuck, "a client that is stuck")


def test_clients_in_the_backlog_are_served(echod):
    echod.start()
    address, process = echod.address, echod.process()
    process.suspend()
    conns = [socket.create_connection(address, timeout=DEADLINE) for _ in range(150)]
    for conn in conns:
        conn.sendall(b"early")
        conn.shutdown(socket.SHUT_WR)
    os.kill(process.pid, signal.SIGTERM)
    process.resume()
    for conn in conns:
        assert receive_all(conn) == b"early"
        conn.close()
    wait_for(lambda: echod.events("stopped"), "the end")


def test_a_draining_daemon_lists_no_listeners(echod):
    echod.start(drain_timeout="1min")
    with echod.connect() as conn:
        stop_reading(echod, conn)
        os.kill(echod.pid, signal.SIGTERM)
        wait_for(lambda: echod.status()["state"] == "draining", "the drain")
        wait_for(lambda: echod.status()["listen"] == [], "the listeners to be closed")
        os.kill(echod.pid, signal.SIGTERM)


def test_a_reloaded_drain_timeout_reaches_those_who_are_in(echod):
    echod.start(drain_timeout="1h")
    with echod.connect() as conn:
        stop_reading(echod, conn)
        echod.write(drain_timeout="1s")
        echod.run("reload", check=0)
        pid = echod.pid
        echod.run("stop", check=0)
        assert not os.path.exists(f"/proc/{pid}/fd/0")
        assert any("reason=drain" in line for line in echod.events("close")), "it ended by itself and was not killed"


def test_idle_timeout_counts_in_a_drain_too(echod):
    echod.start(drain_timeout="never", idle_timeout="1s")
    with echod.connect() as conn:
        stop_reading(echod, conn)
        echod.run("stop", "--timeout", "15", check=0)
    assert any("reason=idle" in line for line in echod.events("close"))
