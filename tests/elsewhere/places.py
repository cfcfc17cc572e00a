"""Machines unlike this one, made on it by a root directory, a filter of system calls or a network namespace.

Each is a context manager that yields a `Place`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from elsewhere import debian
from support import seccomp
from support.daemon import Echod, give
from support.network import inside
from support.processes import MountNamespace
from support.wait import DEADLINE, lack, need, need_root, wait_for

COMMAND_S = 60
# The first number of a system call that a kernel lacks; all later ones have higher numbers.
PIDFD_SEND_SIGNAL = 424  # the first of Linux 5.1
PIDFD_OPEN = 434
CLOSE_RANGE = 436  # the first of those that are newer than Linux 5.4
NO_IPV6_ADDRESS = "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6"
NO_IPV4_ADDRESS = "ip -4 address flush dev lo"
LOOPBACK = "ip link set lo up"
HOSTS = "127.0.0.1 localhost ip4-localhost\n::1 localhost ip6-localhost\n"


class Elsewhere(Echod):
    """A daemon in another place. Its commands may fail there, so its address is read from its log."""

    def __init__(self, place, home, **settings):
        self.place = place
        super().__init__(home, prefix=place.prefix, **{"listen": place.listen} | settings)

    def command(self, *words):
        return [*self.prefix, self.place.python, "-m", "echod", "-c", str(self.config), *map(str, words)]

    @property
    def address(self):
        ready = wait_for(lambda: self.events("ready"), "the daemon to be ready")[-1]
        return self.place.host, int(re.findall(r":(\d+)[, ]", ready)[0])

    def connect(self, **_kwargs):
        return self.place.connect(self.port)


@dataclass
class Place:
    """A machine: what goes before a command there, its Python, what a daemon listens on, where clients find it."""

    prefix: list[str]
    python: str = sys.executable
    listen: str = "127.0.0.1:0"
    host: str = "127.0.0.1"
    network_file: str = ""

    def run(self, *words, **kwargs):
        """Run Python there with these arguments, and return the completed process."""
        command = [*self.prefix, self.python, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, cwd="/", **kwargs)

    def at(self, port):
        """Return the setting `listen` for a port of the clients' address."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"

    def connect(self, port):
        """Return a connection to a port there, made there."""
        with self.network():
            return socket.create_connection((self.host, port), timeout=DEADLINE)

    def network(self):
        """Let this thread make its sockets there, in a `with` block."""
        return inside(self.network_file) if self.network_file else contextlib.nullcontext()

    @contextlib.contextmanager
    def daemon(self, **settings):
        """Yield a daemon that is not started; at the end, stop it and remove its files."""
        home = Path(tempfile.mkdtemp(prefix="echod-test-"))
        home.chmod(0o755)
        give(home)
        daemon = Elsewhere(self, home, **settings)
        try:
            yield daemon
            daemon.cleanup()
        finally:
            shutil.rmtree(home)


@contextlib.contextmanager
def _debian(architecture, *, emulated=False):
    need_root()
    environment = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
    root = Path(tempfile.mkdtemp(prefix="echod-root-"))
    try:
        root.chmod(0o755)
        begin, at_end = debian.emulated(root.name) if emulated else ("", ":")
        debian.unpack(architecture, root)
        with MountNamespace(f"{debian.mounts(root)}\n{begin}", at_end=at_end) as space:
            yield Place([*environment, *space.prefix, "chroot", str(root)], python=debian.PYTHON)
    finally:
        shutil.rmtree(root)


def i386():
    """Debian for i386, which a kernel for x86-64 runs: 32 bits, and 32-bit time."""
    if platform.machine() != "x86_64":
        lack("a processor that runs programs for i386")
    return _debian("i386")


def armhf():
    """Debian for armhf, run by qemu: 32 bits, and 64-bit time."""
    need_root()
    if not debian.can_emulate():
        lack("binfmt_misc, to run programs for ARM")
    return _debian("armhf", emulated=True)


@contextlib.contextmanager
def linux_4_18():
    """The kernel of RHEL 8: no pidfd, no clone3(2), no socket bound to an interface by its number."""
    missing = seccomp.calls_from(PIDFD_SEND_SIGNAL, errno.ENOSYS)
    yield Place(seccomp.prefix(missing, seccomp.interface_index(errno.ENOPROTOOPT)))


@contextlib.contextmanager
def linux_5_4():
    """The kernel of Ubuntu 20.04: no close_range(2), and only root may bind a socket to an interface."""
    missing = seccomp.calls_from(CLOSE_RANGE, errno.ENOSYS)
    yield Place(seccomp.prefix(missing, seccomp.interface_index(errno.EPERM)))


@contextlib.contextmanager
def _without_calls(error):
    numbers = [seccomp.number_of(name) for name in ("memfd_create", "fallocate", "prctl")]
    numbers += [PIDFD_SEND_SIGNAL, PIDFD_OPEN, CLOSE_RANGE]
    yield Place(seccomp.prefix(*(seccomp.call(number, error) for number in numbers)))


def no_calls():
    """A kernel that lacks each call that echod can do without."""
    return _without_calls(errno.ENOSYS)


def sandbox():
    """A container's filter that refuses each call that echod can do without."""
    return _without_calls(errno.EPERM)


@contextlib.contextmanager
def bare_python():
    """A Python that was built without libffi and curses, on an old C library: see `bare_python.py`."""
    with tempfile.TemporaryDirectory(prefix="echod-python-") as directory:
        program = Path(directory, "python")
        script = Path(directory, "bare_python.py")  # beside it: nobody may not read this file
        shutil.copy(Path(__file__).parent / "bare_python.py", script)
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {script} {program} "$@"\n')
        Path(directory).chmod(0o755)
        program.chmod(0o755)
        yield Place([], python=str(program))


@contextlib.contextmanager
def _network(script, *rules, host="127.0.0.1"):
    """Yield a network of loopback alone, listened on at all its addresses, where localhost has both its addresses."""
    need_root()
    need("ip")
    with tempfile.NamedTemporaryFile("w", prefix="echod-hosts-") as hosts:
        hosts.write(HOSTS)
        hosts.flush()
        os.fchmod(hosts.fileno(), 0o644)
        with MountNamespace(f"{script}\nmount --bind {hosts.name} /etc/hosts", network=True) as space:
            prefix = [*space.prefix, *(seccomp.prefix(*rules) if rules else [])]
            network_file = f"/proc/{space.holder.pid}/ns/net"
            yield Place(prefix, listen="*:0", host=host, network_file=network_file)


def no_ipv6_address():
    """IPv6 turned off by a sysctl, as in Docker's networks: sockets can be made, but no address bound."""
    return _network(f"{NO_IPV6_ADDRESS}\n{LOOPBACK}")


def no_ipv6_family():
    """A kernel without IPv6: no socket can be made."""
    return _network(f"{NO_IPV6_ADDRESS}\n{LOOPBACK}", seccomp.family(socket.AF_INET6, errno.EAFNOSUPPORT))


def ipv6_only():
    """No IPv4 address, not even 127.0.0.1: sockets can be made, but bound to no address except 0.0.0.0."""
    return _network(f"{LOOPBACK}\n{NO_IPV4_ADDRESS}", host="::1")


def no_ipv4_family():
    """A kernel that makes no socket of IPv4."""
    rule = seccomp.family(socket.AF_INET, errno.EAFNOSUPPORT)
    return _network(f"{LOOPBACK}\n{NO_IPV4_ADDRESS}", rule, host="::1")


PLACES = {
    "i386": i386,
    "armhf": armhf,
    "linux-4.18": linux_4_18,
    "linux-5.4": linux_5_4,
    "no-calls": no_calls,
    "sandbox": sandbox,
    "bare-python": bare_python,
    "no-ipv6-address": no_ipv6_address,
    "no-ipv6-family": no_ipv6_family,
    "ipv6-only": ipv6_only,
    "no-ipv4-family": no_ipv4_family,
}
