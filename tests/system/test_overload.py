"""Too many clients, too few resources, children that die: the daemon sleeps, pauses, reaps and goes on."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest

from echod.server.server import QUIET_MS
from support.daemon import give
from support.processes import (
    close_all,
    connect_many,
    cpu_seconds,
    descriptors,
    limit_descriptors,
    proc_status,
    wakeups,
    zombies,
)
from support.sockets import exchange
from support.wait import DEADLINE, need, need_root, wait_for

PAUSES = 8  # of 100 ms: long enough to tell a pause from a busy loop


def echo(conn, data=b"x"):
    conn.sendall(data)
    return conn.recv(len(data)) == data


def asleep(pid):
    """Wait until a process sleeps for longer than a quiet period; return how often it was switched: see `wakeups`."""

    def sleeps():
        before = wakeups(pid)
        time.sleep(10 * QUIET_MS / 1000)
        return proc_status(pid)["State"].startswith("S") and wakeups(pid) == before

    wait_for(sleeps, "the daemon to sleep")
    return wakeups(pid)


class TestCap:
    """`max_children` with `over_limit = queue` and `refuse`."""

    def test_queue_serves_the_next_when_one_leaves(self, echod):
        echod.start(max_children=2)
        first, second = echod.connect(), echod.connect()
        assert echo(first)
        assert echo(second)
        with echod.connect() as third:  # the kernel's backlog takes it
            third.sendall(b"queued")
            third.settimeout(0.5)
            with pytest.raises(TimeoutError):
                third.recv(100)
            assert echod.status()["clients"] == 2
            first.close()
            third.settimeout(DEADLINE)
            assert third.recv(100) == b"queued"
        second.close()
        assert echod.wait_idle()["refused"]["over_limit"] == 0

    def test_two_listeners_do_not_share_the_last_place(self, echod):
        echod.start(max_children=1, listen="127.0.0.1:0 127.0.0.2:0")
        addresses = [text.rpartition(":") for text in echod.status()["listen"]]
        process = echod.process()
        process.suspend()
        conns = [socket.create_connection((host, int(port)), timeout=DEADLINE) for host, _, port in addresses]
        process.resume()
        for conn in conns:
            conn.sendall(b"x")
        for conn in conns:  # the first goes, the second gets its place
            assert conn.recv(1) == b"x"
            conn.close()
        assert echod.wait_idle()["peak_clients"] == 1

    def test_at_the_cap_it_makes_no_system_call(self, echod):
        echod.start(max_children=2)
        conns = [echod.connect() for _ in range(2)]
        assert all(map(echo, conns))
        pid, address = echod.pid, echod.address
        before = asleep(pid), cpu_seconds(pid)
        waiting = [socket.create_connection(address, timeout=DEADLINE) for _ in range(20)]
        for _ in range(100):
            assert all(map(echo, conns))  # its children are at work meanwhile
        assert (wakeups(pid), cpu_seconds(pid)) == before
        close_all(conns)
        assert echo(waiting[0])
        close_all(waiting)
        echod.wait_idle()

    def test_refuse_closes_at_once(self, echod):
        echod.start(max_children=2, over_limit="refuse")
        conns = [echod.connect() for _ in range(2)]
        assert all(map(echo, conns))
        with echod.connect() as third:
            assert third.recv(1) == b""
            peer = "{}:{}".format(*third.getsockname())
        wait_for(lambda: echod.events("refuse"), "the line")
        assert echod.events("refuse") == [f"refuse peer={peer} reason=over_limit"]
        assert echod.status()["refused"]["over_limit"] == 1
        close_all(conns)
        echod.wait_idle()
        assert exchange(echod.address, b"room again") == b"room again"

    def test_per_source(self, echod):
        echod.start(max_children_per_source=2)
        host, port = echod.address
        conns = [echod.connect() for _ in range(2)]
        assert all(map(echo, conns))
        with echod.connect() as third:
            assert third.recv(1) == b""
        with socket.create_connection((host, port), DEADLINE, source_address=("127.0.0.9", 0)) as other:
            assert echo(other)
        conns.pop().close()
        wait_for(lambda: echod.status()["clients"] == 1, "one to leave")
        with echod.connect() as again:
            assert echo(again)
        close_all(conns)
        assert echod.wait_idle()["refused"]["per_source"] == 1


@pytest.mark.parametrize(
    ("rules", "served", "refused"),
    [
        ({"deny": "127.0.0.0/8", "allow": "127.0.0.8/29"}, ["127.0.0.9"], ["127.0.0.1", "127.0.0.17"]),
        ({"allow": "127.0.0.0/30"}, ["127.0.0.1"], ["127.0.0.9"]),
        ({"allow": "127.0.0.0/8", "deny": "127.0.0.9"}, ["127.0.0.1"], ["127.0.0.9"]),
        ({"deny": "192.0.2.0/24"}, ["127.0.0.1", "127.0.0.9"], []),
    ],
)
def test_allow_and_deny(echod, rules, served, refused):
    echod.start(**rules)
    address = echod.address
    for host in served:
        with socket.create_connection(address, DEADLINE, source_address=(host, 0)) as conn:
            assert echo(conn)
    for host in refused:
        with socket.create_connection(address, DEADLINE, source_address=(host, 0)) as conn:
            assert conn.recv(1) == b""
    assert echod.wait_idle()["refused"]["access"] == len(refused)


def sleeps_without_end(pid):
    """Tell whether a process is in poll(2) without a time-out: its number and arguments are in /proc (proc(5))."""
    words = Path(f"/proc/{pid}/syscall").read_text().split()
    return len(words) > 3 and int(words[3], 16) & 0xFFFFFFFF == 0xFFFFFFFF


@pytest.mark.parametrize(
    "setting",
    [{}, {"deny": "192.0.2.0/24"}, {"log_level": "debug"}, {"max_children_per_source": 5}, {"max_children": 1}],
)
def test_a_client_that_stays_is_shown_and_its_end_is_noticed_while_nothing_else_happens(echod, setting):
    echod.start(**setting)
    with echod.connect() as conn:
        assert echo(conn)
        (client,) = wait_for(lambda: echod.status()["children"], "the client to be shown")
        assert client["peer"] == "{}:{}".format(*conn.getsockname())
        wait_for(lambda: sleeps_without_end(echod.pid), "the quiet period to be over")
        os.kill(client["pid"], signal.SIGKILL)
        wait_for(lambda: not echod.children(), "the exited child to be reaped")
    assert echod.wait_idle()["children"] == []


def test_exited_children_are_reaped_while_others_are_rejected_without_a_pause(echod):
    echod.start(deny="127.0.0.9")
    address = echod.address
    with socket.create_connection(address, DEADLINE) as conn:
        assert echo(conn)
    poller, over = socket.socketpair()

    def knock():
        while not select.select([poller], [], [], 0)[0]:
            with contextlib.suppress(OSError), socket.create_connection(address, DEADLINE, ("127.0.0.9", 0)) as denied:
                denied.recv(1)

    flood = [threading.Thread(target=knock) for _ in range(4)]
    with poller, over:
        for thread in flood:
            thread.start()
        try:
            for _ in range(20):
                before = len(echod.events("close"))
                with socket.create_connection(address, DEADLINE) as conn:
                    assert echo(conn)
                wait_for(lambda before=before: len(echod.events("close")) > before, "its end to be logged")
        finally:
            over.send(b"x")
            for thread in flood:
                thread.join(DEADLINE)


def test_a_fork_that_fails_costs_one_client(echod):
    need_root()
    give(echod.home, "news")
    echod.write(user="news")  # who has no other process: the limit is the daemon itself and one child
    wait_for(
        lambda: "news" not in {process.info["username"] for process in psutil.process_iter(["username"])},
        "news to have none",
    )
    echod.run("start", check=0, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (2, 2)))
    with echod.connect() as old:
        assert echo(old)
        with echod.connect() as conn:
            assert conn.recv(1) == b""
        wait_for(lambda: echod.status()["refused"]["fork_failed"] == 1, "the count")
        assert any("reason=fork_failed" in line for line in echod.events("refuse"))
        assert "error call=fork why='Resource temporarily unavailable'" in echod.events("error")
        assert echo(old)
    echod.wait_idle()
    assert exchange(echod.address, b"again") == b"again"
    state = echod.wait_idle()
    assert state["accepted"] == state["closed"] == 2


def test_out_of_descriptors_it_pauses_and_recovers(running):
    pid, address = running.pid, running.address
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    lowest_free = next(fd for fd in range(1000) if fd not in descriptors(pid))
    limit_descriptors(pid, lowest_free)
    with socket.create_connection(address, timeout=DEADLINE) as conn:
        conn.sendall(b"patience")
        wait_for(lambda: running.events("error"), "the warning")
        before, (switched, _) = cpu_seconds(pid), wakeups(pid)
        wait_for(lambda: wakeups(pid)[0] >= switched + PAUSES, "some pauses")
        assert cpu_seconds(pid) - before < 0.1 * PAUSES / 2, "a busy loop"
        limit_descriptors(pid, limit)
        assert conn.recv(100) == b"patience"
    assert running.events("error")[0] == "error call=accept4 why='Too many open files'"
    running.wait_idle()


def test_a_child_that_is_killed(echod):
    echod.start(max_children=1)
    with echod.connect() as conn:
        assert echo(conn)
        (child,) = echod.children()
        wait_for(lambda: echod.status()["bytes_out"] == 1, "the count, which follows the write")
        child.kill()
        with contextlib.suppress(ConnectionResetError):
            assert conn.recv(1) == b""
    assert exchange(echod.address, b"its slot is free") == b"its slot is free"
    echod.wait_idle()
    first = echod.events("close")[0]
    assert f"child={child.pid} reason=signal=SIGKILL in=1 out=1" in first


def test_1000_children_killed_at_the_same_moment(echod):
    echod.start(max_children=1000)
    conns = connect_many(echod, 1000)
    wait_for(lambda: echod.status()["clients"] == 1000, "1000 clients")
    process, children = echod.process(), echod.children()
    assert len(children) == 1000
    before = descriptors(process.pid)
    process.suspend()  # one SIGCHLD will stand for all of them
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
    wait_for(lambda: len(zombies(process.pid)) == 1000, "1000 zombies")
    process.resume()
    state = echod.wait_idle()
    assert (state["accepted"], state["closed"]) == (1000, 1000)
    close_all(conns)
    assert not zombies(process.pid)
    assert descriptors(process.pid) == before
    assert sum("reason=signal=SIGKILL" in line for line in echod.events("close")) == 1000
    assert exchange(echod.address, b"still here") == b"still here"


def test_idle_it_makes_no_system_call(running):
    exchange(running.address, b"x")
    running.wait_idle()
    pid = running.pid
    before = asleep(pid), cpu_seconds(pid)
    time.sleep(10)  # no event to wait for: that nothing happens is the point
    assert (wakeups(pid), cpu_seconds(pid)) == before


@pytest.mark.parametrize(("setting", "reason"), [("idle_timeout", "idle"), ("max_lifetime", "lifetime")])
def test_a_limit_ends_a_session_with_a_fin(echod, setting, reason):
    echod.start(**{setting: "300ms"})
    with echod.connect() as conn:
        assert echo(conn)
        assert conn.recv(1) == b""
        conn.sendall(b"on its way when the FIN came")
        wait_for(lambda: conn.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0, "no reset")
        conn.shutdown(socket.SHUT_WR)
        wait_for(lambda: echod.events("close"), "the close")
        assert conn.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert f"reason={reason} in=1 out=1" in echod.events("close")[0]


def test_max_lifetime_ends_a_busy_session(echod):
    echod.start(max_lifetime="300ms")
    sent = received = 0
    with echod.connect() as conn:
        while True:
            conn.sendall(b"%09d\n" % sent)
            sent += 1
            if not (part := conn.recv(10, socket.MSG_WAITALL)):
                break
            assert part == b"%09d\n" % received
            received += 1
    assert received
    wait_for(lambda: echod.events("close"), "the close")
    assert "reason=lifetime" in echod.events("close")[0]


def test_a_slow_reader_is_not_idle(echod):
    """It takes bytes all the time, though it sends none: longer than the idle limit."""
    echod.start(idle_timeout="1s")
    size = 24 << 20
    with echod.connect() as conn:
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        conn.setblocking(False)
        sent = received = 0
        begun = time.monotonic()
        while received < size and time.monotonic() - begun < 2.5:
            with contextlib.suppress(BlockingIOError):
                sent += conn.send(bytes(min(1 << 16, size - sent)))
            with contextlib.suppress(BlockingIOError):
                part = conn.recv(1 << 12)
                assert part, "closed while it was reading"
                received += len(part)
    assert received


def test_a_reset_while_it_waits_in_the_backlog(echod):
    echod.start(max_children=1)
    with echod.connect() as first:
        assert echo(first)
        for _ in range(5):
            conn = echod.connect()
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            conn.close()
    assert exchange(echod.address, b"next") == b"next"
    echod.wait_idle()


def test_strace_sees_no_call_either(running):
    """What `wakeups` infers, seen directly: a client's bytes never wake the parent."""
    with running.connect() as conn:
        assert echo(conn)
        asleep(running.pid)
        trace = running.home / "trace"
        with subprocess.Popen(
            [need("strace"), "-p", str(running.pid), "-o", str(trace)], stderr=subprocess.PIPE, text=True
        ) as strace:
            assert "attached" in strace.stderr.readline()
            for _ in range(100):
                assert echo(conn)
            strace.send_signal(signal.SIGINT)
            strace.wait(DEADLINE)
        calls = [line for line in trace.read_text().splitlines() if "restart_syscall" not in line]
        assert len(calls) <= 1, calls
        assert all("detached" in line for line in calls), calls
