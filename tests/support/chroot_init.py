"""PID 1 of a chroot: set it up, run one command in it as a user, and reap each orphan as soon as it ends.

usage: chroot_init.py SPEC, in new pid, mount, ipc and uts namespaces; `support.chroot` writes SPEC, which is JSON.

It imports the standard library alone, and all of it before it enters the chroot: afterwards it finds no module.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import struct
import sys
from typing import Any

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
COULD_NOT_SET_UP = 125

LIBC = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, options: str = "") -> None:
    """Mount a file system (mount(2)). Raises OSError."""
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    if LIBC.mount(*words, flags, options.encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)


def bind(source: str, target: str) -> None:
    """Show a file or directory of the machine in the chroot, read-only."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "ab"):
            pass
    mount(source, target, flags=MS_BIND)
    mount(source, target, flags=MS_REMOUNT | MS_BIND | MS_RDONLY)


def mount_all(root: str, shown: list[str]) -> None:
    """Mount what every machine has: /proc, /sys, a small /dev without /dev/log; and what `shown` names."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)  # otherwise all of it would appear outside, too
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", f"{root}/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)
    mount("tmpfs", f"{root}/dev", "tmpfs", MS_NOSUID, "mode=755")
    for name in DEVICES:
        os.mknod(f"{root}/dev/{name}", os.stat(f"/dev/{name}").st_mode, os.stat(f"/dev/{name}").st_rdev)
        os.chmod(f"{root}/dev/{name}", 0o666)  # mknod(2) applies the umask
    os.mkdir(f"{root}/dev/pts")
    os.mkdir(f"{root}/dev/shm")
    mount("devpts", f"{root}/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5")
    mount("tmpfs", f"{root}/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    os.symlink("pts/ptmx", f"{root}/dev/ptmx")
    for name, path in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(f"/proc/self/{path}", f"{root}/dev/{name}")
    for path in shown:
        bind(path, root + path)


def loopback_up() -> None:
    """Bring up the only interface of a new network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def execute(spec: dict[str, Any]) -> None:
    """Become the command, as the user."""
    os.setsid()
    os.setgroups([])
    os.setgid(spec["uid"])
    os.setuid(spec["uid"])
    os.chdir(spec["directory"])
    os.umask(0o022)
    os.execvpe(spec["words"][0], spec["words"], spec["environ"])


def reap_until(pid: int) -> int:
    """Reap all children until one of them ends, and return its exit code."""
    while True:
        ended, status = os.wait()
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def main() -> int:
    """Set up the chroot, run the command, and return its exit code; its namespace ends with this process."""
    spec = json.loads(sys.argv[1])
    assert os.getpid() == 1, "run it in a new pid namespace"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    mount_all(spec["root"], spec["shown"])
    if not spec["network"]:
        loopback_up()
    os.chroot(spec["root"])
    os.chdir("/")
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            execute(spec)
        except OSError as error:
            os.write(2, f"chroot_init: {error}\n".encode())
        finally:
            os._exit(COULD_NOT_SET_UP)
    return reap_until(pid)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:
        hint = "; run it as root" if error.errno == errno.EPERM else ""
        print(f"chroot_init: {error}{hint}", file=sys.stderr)
        sys.exit(COULD_NOT_SET_UP)
