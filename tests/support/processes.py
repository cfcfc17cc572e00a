"""What the kernel says of a process: /proc, descriptors, context switches; and places where tests may break things."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path

import psutil

from support.wait import DEADLINE, need, need_root, wait_for

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
    """Set a process's soft limit on descriptors."""
    set_limit(pid, "nofile", most)


def set_limit(pid, name, most):
    """Set a soft limit of a process, as its user: where users differ even root needs CAP_SYS_RESOURCE."""
    process = psutil.Process(pid)
    who = {"user": process.uids().real, "group": process.gids().real, "extra_groups": []} if os.geteuid() == 0 else {}
    subprocess.run([need("prlimit"), f"--pid={pid}", f"--{name}={most}:"], check=True, **who, timeout=DEADLINE)


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
    """A private mount namespace, prepared by a shell script, for as long as the `with` block lasts.

    With `network` it has its own network, too. `at_end` is what the shell does last, even if this process was killed.
    """

    def __init__(self, script, *, network=False, at_end=":"):
        need_root()
        kinds = ["--mount", *(["--net"] if network else [])]
        stay = f"trap '' INT\n{script}\necho ready\ncat\n{at_end}"
        self.holder = subprocess.Popen(
            [need("unshare"), *kinds, "--propagation", "private", "sh", "-ec", stay],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        # --root: in a chroot, setns(2) would lead out of it
        self.prefix = [need("nsenter"), "--target", str(self.holder.pid), *kinds, "--root", "--"]

    def __enter__(self):
        assert self.holder.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_):
        self.holder.stdin.close()
        self.holder.wait(DEADLINE)
        self.holder.stdout.close()


def fork(function, *args):
    """Run a function in a child that never returns; its exit status is what that returned, 99 after a traceback."""
    sys.stdout.flush()
    stderr = sys.__stderr__  # a server in this process replaces sys.stderr
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = function(*args) or 0
        except BaseException:  # noqa: BLE001 - all of it belongs into the test's output
            traceback.print_exc(file=stderr)
        finally:  # nothing here may raise: the child would go on as pytest, and fork again
            os._exit(code)
    return pid


def reap(pid):
    """Wait, with a deadline, for a child to end; return its exit status, or minus the signal that ended it."""

    def ended():
        found, status = os.waitpid(pid, os.WNOHANG)
        return found and [os.waitstatus_to_exitcode(status)]

    try:
        return wait_for(ended, f"the end of child {pid}")[0]
    except BaseException:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        raise


def isolated(function, *args):
    """Run a function in a child and fail unless it went through."""
    code = reap(fork(function, *args))
    assert code == 0, f"the child ended with {code}"


def state(pid):
    """Return a process's state letter: R, S, T, Z…"""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0].decode()


def namespaces(flags, function, *args):
    """Run a function in new namespaces (unshare(2) flags), as root; the child's exit status must be 0."""

    def enter():
        import ctypes  # noqa: PLC0415 - only root's tests need it

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(flags):
            raise OSError(ctypes.get_errno(), "unshare")
        if flags & CLONE_NEWNS and libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
            raise OSError(ctypes.get_errno(), "mount")
        return function(*args)

    isolated(enter)


CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18


def mount(kind, path, options):
    """Mount a file system (mount(2)), inside `namespaces`."""
    import ctypes  # noqa: PLC0415 - only root's tests need it

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(kind, os.fsencode(path), kind, 0, options):
        raise OSError(ctypes.get_errno(), "mount")
