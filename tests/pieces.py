"""What the unit tests share: settings in force, functions run in a process of their own, pairs of connected sockets."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import sys
import traceback
from pathlib import Path

from conftest import wait_for
from echod import config

SOURCE = Path(config.__file__).parent
NOBODY = 65534


def settings(*overrides):
    """Return the settings that `-o` words lead to, over the defaults."""
    return config.load("/dev/null", overrides, "/", log="stderr")


def fork(function, *args):
    """Run a function in a child that never returns; its exit status is what that returned, 99 after a traceback."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = function(*args) or 0
        except BaseException:  # noqa: BLE001 - all of it belongs into the test's output
            traceback.print_exc()
        finally:
            sys.stderr.flush()
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
    assert reap(fork(function, *args)) == 0


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


def tcp_pair():
    """Return two ends of a TCP connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    return ours, theirs


def readable_errno(number):
    """Return an errno's name, for a test's id."""
    return errno.errorcode[number]
