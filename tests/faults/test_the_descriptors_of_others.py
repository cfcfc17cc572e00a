"""A daemon removes its own files only, when it leaves; a full table of descriptors costs a pause and no more."""

from __future__ import annotations

import os
import signal
import socket

from support.processes import descriptors, limit_descriptors
from support.sockets import exchange
from support.wait import DEADLINE, alive, wait_for


def test_files_that_have_taken_the_place_of_its_own_stay(running):
    board = next(path for path in running.home.iterdir() if path.name.endswith("scoreboard"))
    pid = running.pid
    for path in (running.pid_file, board):
        path.rename(path.with_suffix(".old"))
        path.write_text("another's")
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not alive(pid), "the end")
    for path in (running.pid_file, board):
        assert path.read_text() == "another's"
        path.unlink()


def test_no_descriptor_is_left_while_syslog_is_away(echod):
    """Each line tries to reach it again, which needs a descriptor."""
    echod.start(log="syslog", deny="127.0.0.2")
    pid, address = echod.pid, echod.address
    lowest_free = next(fd for fd in range(1000) if fd not in descriptors(pid))
    limit_descriptors(pid, lowest_free)
    with socket.create_connection(address, timeout=DEADLINE) as conn:
        conn.sendall(b"x")
        os.kill(pid, signal.SIGHUP)
        os.kill(pid, signal.SIGUSR1)
        wait_for(lambda: "Too many open files" in echod.status()["last_reload"], "the reload, which fails")
        limit_descriptors(pid, 1000)
        assert conn.recv(1) == b"x"
    assert exchange(address, b"again") == b"again"


def test_no_descriptor_is_left_when_the_service_manager_is_to_be_told(echod):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0echod-test-{os.getpid()}")
        manager.settimeout(DEADLINE)
        process = echod.foreground(env=os.environ | {"NOTIFY_SOCKET": f"@echod-test-{os.getpid()}"})
        while b"READY=1" not in manager.recv(4096):
            pass
        lowest_free = next(fd for fd in range(1000) if fd not in descriptors(process.pid))
        limit_descriptors(process.pid, lowest_free)
        os.kill(process.pid, signal.SIGHUP)
        for message in (b"RELOADING=1", b"READY=1"):
            while message not in manager.recv(4096):
                pass
        os.kill(process.pid, signal.SIGTERM)
        while b"STOPPING=1" not in manager.recv(4096):  # or the number of clients
            pass
        assert process.wait(DEADLINE) == 0
