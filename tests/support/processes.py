"""What the kernel says of a process: /proc, descriptors, context switches; and places where tests may break things."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import socket
import subprocess
from pathlib import Path

import psutil

from conftest import DEADLINE, need, need_root

NOBODY = 65534
LIBC = ctypes.CDLL(None, use_errno=True)
SYS_PIDFD_GETFD = 438  # the same number on every architecture


def proc_status(pid):
    """Return /proc/PID/status as a dictionary of texts."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def signal_set(pid, kind):
    """Return the numbers of the signals in SigBlk, SigIgn or SigCgt."""
    mask = int(proc_status(pid)[kind], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def descriptors(pid):
    """Return what the open descriptors of a process point to, by number."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return found


def wakeups(pid):
    """Return how often a process has been switched: as long as it sleeps in one system call this stays the same."""
    status = proc_status(pid)
    return int(status["voluntary_ctxt_switches"]), int(status["nonvoluntary_ctxt_switches"])


def cpu_seconds(pid):
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def anonymous(pid):
    """Return the anonymous memory of a process in KiB."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Anonymous:"))


def zombies(pid):
    """Return the children of a process that are dead and not reaped."""
    return [child for child in psutil.Process(pid).children() if child.status() == psutil.STATUS_ZOMBIE]


def servers(echod):
    """Return the processes that are, or fork from, a server with the pid file of this test."""
    word = f"pid_file={echod.pid_file}"
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if word in process.cmdline():
                found.append(process.pid)
    return found


def socket_of(pid, fd):
    """Return a duplicate of a socket of another process (pidfd_getfd(2)), to ask for its options."""
    pidfd = os.pidfd_open(pid)
    try:
        copy = LIBC.syscall(SYS_PIDFD_GETFD, pidfd, fd, 0)
    finally:
        os.close(pidfd)
    if copy < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return socket.socket(fileno=copy)


def connection_of(pid):
    """Return the one descriptor above 2 of a client's child."""
    (fd,) = [fd for fd in descriptors(pid) if fd > 2]
    return fd


def limit_descriptors(pid, most):
    """Set a process's soft limit on descriptors, as its user: where users differ even root needs CAP_SYS_RESOURCE."""
    process = psutil.Process(pid)
    who = {"user": process.uids().real, "group": process.gids().real, "extra_groups": []} if os.geteuid() == 0 else {}
    subprocess.run([need("prlimit"), f"--pid={pid}", f"--nofile={most}:"], check=True, **who, timeout=DEADLINE)


def many_descriptors():
    """Let this process open as many descriptors as it is ever allowed to."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connect_many(echod, count):
    """Return `count` connections that all have a child."""
    many_descriptors()
    address = echod.address
    return [socket.create_connection(address, timeout=DEADLINE) for _ in range(count)]


def close_all(conns):
    for conn in conns:
        conn.close()


class MountNamespace:
    """A private mount namespace, prepared by a shell script, for as long as the `with` block lasts."""

    def __init__(self, script):
        need_root()
        self.holder = subprocess.Popen(
            [need("unshare"), "--mount", "--propagation", "private", "sh", "-ec", f"{script}\necho ready\nexec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.prefix = [need("nsenter"), "--target", str(self.holder.pid), "--mount", "--"]

    def __enter__(self):
        assert self.holder.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_):
        self.holder.stdin.close()
        self.holder.wait(DEADLINE)
        self.holder.stdout.close()
