"""System calls that fail, made to by strace(1): each of these has ended the daemon before."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess

import psutil
import pytest

from support.processes import descriptors, set_limit
from support.sockets import exchange
from support.wait import DEADLINE, alive, need, wait_for


class Injected:
    """strace, attached to a daemon, which has some of its calls fail for as long as the `with` block lasts."""

    def __init__(self, pid, trace, *faults, follow=False, also=()):
        self.trace = trace
        names = ",".join([*(fault.partition(":")[0] for fault in faults), *also])
        options = ["-f"] if follow else []
        options += [f"--trace={names}", *(f"--inject={fault}" for fault in faults), "-o", str(trace), "-p", str(pid)]
        self.process = subprocess.Popen([need("strace"), *options], stderr=subprocess.PIPE, text=True)
        assert "attached" in self.process.stderr.readline()

    def __enter__(self):
        return self

    def injected(self):
        """Return how many calls have failed."""
        return self.trace.read_text().count("(INJECTED)")

    def stop(self):
        """Detach: no more calls fail."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(DEADLINE)

    def __exit__(self, *_):
        self.stop()
        self.process.stderr.close()


def serves(address, pid):
    assert exchange(address, b"and on") == b"and on"
    assert alive(pid)


@pytest.mark.parametrize("error", ["EINVAL", "ENOMEM", "EINTR"])
def test_poll(running, tmp_path, error):
    pid, address = running.pid, running.address
    with Injected(pid, tmp_path / "trace", f"poll:error={error}:when=1+2") as strace:
        for _ in range(3):
            serves(address, pid)
        wait_for(strace.injected, "an injected fault")
    serves(address, pid)


@pytest.mark.parametrize("error", ["ENFILE", "ENOBUFS", "ENOMEM"])
def test_accept_for_want_of_what_all_share(running, tmp_path, error):
    """After each failure poll(2) runs into its time-out, the listener not polled; then who waits is served."""
    pid, address = running.pid, running.address
    with (
        Injected(pid, tmp_path / "trace", f"accept4:error={error}:when=1+", also=["poll"]) as strace,
        socket.create_connection(address, timeout=DEADLINE) as client,
    ):
        client.sendall(b"x")
        wait_for(lambda: strace.injected() > 2, "accept to fail again")
        strace.stop()
        assert client.recv(1) == b"x"
    calls = strace.trace.read_text().split("(INJECTED)")
    slept = [re.findall(r"poll\(.*, 1, (\d+)\) += 0 \(Timeout\)", between) for between in calls[1:-1]]
    assert all(int(milliseconds) > 50 for [milliseconds] in slept)
    (line,) = running.events("accept")
    assert line == f"error call=accept4 why={os.strerror(getattr(errno, error))!r}"
    assert running.status()["accepted"] == 1


@pytest.mark.parametrize("error", ["EIO", "EAGAIN"])
def test_the_signal_pipe(running, tmp_path, error):
    pid, address = running.pid, running.address
    with Injected(pid, tmp_path / "trace", f"read:error={error}:when=1") as strace:
        os.kill(pid, signal.SIGUSR1)
        wait_for(strace.injected, "an injected fault")
        serves(address, pid)
    running.run("reload", check=0)


@pytest.mark.parametrize("error", ["EIO", "EDQUOT"])
def test_close_of_a_log(running, tmp_path, error):
    pid, address = running.pid, running.address
    with Injected(pid, tmp_path / "trace", f"close:error={error}:when=1+3") as strace:
        running.run("reopen", check=0)
        running.write(log=running.home / "other.log")
        running.run("reload", check=0)
        serves(address, pid)
        wait_for(strace.injected, "an injected fault")
    serves(address, pid)


@pytest.mark.parametrize("call", ["setsockopt", "listen", "shutdown"])
def test_a_listener_that_moves(running, tmp_path, call):
    """Whatever fails, the new address is served afterwards, or the reload has failed as a whole."""
    pid, address = running.pid, running.address
    for when in (1, 3, 6):
        with Injected(pid, tmp_path / f"trace{when}", f"{call}:error=EPERM:when={when}"):
            running.write(listen=f"127.0.0.1:{address[1]} 127.0.0.2:0")
            running.run("reload")
            serves(address, pid)
            running.write(listen=f"127.0.0.1:{address[1]}")
            running.run("reload")
            serves(address, pid)
    running.run("reload", check=0)
    assert running.status()["listen"] == [f"127.0.0.1:{address[1]}"]


def test_no_memory_for_a_reload(running):
    pid, address = running.pid, running.address
    with open(running.config, "a") as file:
        file.write("#" * 900_000 + "\n")
    set_limit(pid, "as", psutil.Process(pid).memory_info().vms + (256 << 10))
    assert "out of memory" in running.run("reload", check=1).stderr
    serves(address, pid)
    set_limit(pid, "as", "unlimited")
    running.run("reload", check=0)


def test_no_close_range_means_no_millions_of_calls(echod, tmp_path):
    """An old kernel, or a sandbox: os.closerange falls back to one close(2) after the other."""
    trace = tmp_path / "trace"
    echod.start()
    with Injected(echod.pid, trace, "close_range:error=ENOSYS", follow=True, also=["close"]) as strace:
        assert exchange(echod.address, b"x") == b"x"
        wait_for(lambda: strace.injected() >= 2, "the child's two calls")
        echod.wait_idle()
    calls = len(re.findall(r" close\(", trace.read_text()))
    assert calls < 200


UPGRADES = {
    "no process": ("clone:error=EAGAIN:when=1", "cannot try the new version: Resource temporarily unavailable"),
    "no memory": ("memfd_create:error=ENOMEM:when=1", "cannot try the new version: Cannot allocate memory"),
    "no memfd_create": ("memfd_create:error=ENOSYS", "cannot try the new version: Function not implemented"),
    "no room": ("pwrite64:error=ENOSPC:when=1", "cannot try the new version: No space left on device"),
    "no room later": ("pwrite64:error=ENOSPC:when=2", "cannot execute .*: No space left on device"),
    "execve refused": ("execve:error=EACCES:when=1", "cannot execute .*: Permission denied"),
    "execve without memory": ("execve:error=ENOMEM:when=1", "cannot execute .*: Cannot allocate memory"),
    "unreadable": ("pread64:error=EIO:when=1", "Input/output error"),
}


@pytest.mark.parametrize("name", UPGRADES)
def test_an_upgrade_is_refused_and_all_is_as_before(running, tmp_path, name):
    fault, why = UPGRADES[name]
    pid, address, before = running.pid, running.address, sorted(descriptors(running.pid))
    with running.connect() as conn:
        conn.sendall(b"x")
        assert conn.recv(1) == b"x"
        with Injected(pid, tmp_path / "trace", fault) as strace:
            done = running.run("upgrade", check=1)
            assert strace.injected()
        assert re.search(f"{why}; the previous version continues\n$", done.stderr), done.stderr
        conn.sendall(b"y")
        assert conn.recv(1) == b"y"
    running.wait_idle()
    assert sorted(descriptors(pid)) == before
    assert exchange(address, b"and on") == b"and on"
    running.run("upgrade", check=0)
    running.run("reload", check=0)
    assert exchange(address, b"and on") == b"and on"
    assert running.pid == pid
