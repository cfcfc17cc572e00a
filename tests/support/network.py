"""Two hosts joined by a cable: network namespaces with a veth pair, to be broken."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess

from support.processes import LIBC
from support.wait import DEADLINE, need, need_root

HERE, THERE = "192.0.2.1", "192.0.2.2"  # the daemon's address and the clients', of TEST-NET-1 (RFC 5737)


class Hosts:
    """The namespaces `here`, HERE, and `there`, THERE, for as long as the `with` block lasts."""

    def __init__(self):
        need_root()
        self._ip, self._nft = need("ip"), need("nft")
        self.here, self.there = (f"echod-test-{os.getpid()}-{side}" for side in "ab")
        self.prefix = (self._ip, "netns", "exec", self.here)  # for Echod
        self._conns: list[socket.socket] = []

    def __enter__(self):
        try:
            for name in (self.here, self.there):
                self._run(self._ip, "netns", "add", name)
            self.ip(self.here, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", self.there)
            for name, address in ((self.here, HERE), (self.there, THERE)):
                self.ip(name, "address", "add", f"{address}/24", "dev", "cable")
                self.ip(name, "link", "set", "lo", "up")
                self.ip(name, "link", "set", "cable", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for conn in self._conns:
            conn.close()
        for name in (self.here, self.there):
            subprocess.run([self._ip, "netns", "delete", name], check=False, timeout=DEADLINE, capture_output=True)

    @staticmethod
    def _run(*words):
        subprocess.run(words, check=True, timeout=DEADLINE)

    def ip(self, name, *words):
        """Run ip(8) in a namespace."""
        self._run(self._ip, "-n", name, *words)

    def cable(self, name, *words):
        """Change the end of the cable in a namespace: up, down, mtu 600."""
        self.ip(name, "link", "set", "cable", *words)

    def drop(self, name, *rule, hooks=("input", "output")):
        """Drop the packets that match an nft(8) rule, all when there is none; what is there already is replaced."""
        lines = ["add table inet broken", "delete table inet broken", "add table inet broken"]
        for hook in hooks:
            lines.append(f"add chain inet broken {hook} {{ type filter hook {hook} priority 0; }}")
            lines.append(f"add rule inet broken {hook} {' '.join(rule)} drop")
        subprocess.run(
            [self._ip, "netns", "exec", name, self._nft, "-f", "-"],
            input="\n".join(lines).encode(),
            check=True,
            timeout=DEADLINE,
        )

    def sysctl(self, name, key, value):
        """Set a variable of a namespace's network stack."""
        with self.enter(name), open(f"/proc/sys/{key}", "w") as file:
            file.write(str(value))

    def enter(self, name):
        """Have this thread make its sockets in a namespace; they stay there."""
        return inside(f"/run/netns/{name}")

    def connect(self, port, name="", *, buffer=0):
        """Return a connection to the daemon, from `there` unless another namespace is named; closed with the block."""
        with self.enter(name or self.there):
            conn = socket.socket()
        self._conns.append(conn)
        if buffer:
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        conn.settimeout(DEADLINE)
        conn.connect((HERE, port))
        return conn


class Switch:
    """A namespace for each name, with the address given, all of them joined by a bridge in one more."""

    def __init__(self, **addresses):
        need_root()
        self._ip, self._addresses = need("ip"), addresses
        self._switch = f"echod-test-{os.getpid()}-switch"

    def space(self, name):
        """Return the name of a namespace."""
        return f"echod-test-{os.getpid()}-{name}"

    def prefix(self, name):
        """Return what goes before a command to run it in a namespace."""
        return (self._ip, "netns", "exec", self.space(name))

    def __enter__(self):
        try:
            self._run("netns", "add", self._switch)
            self._run("-n", self._switch, "link", "add", "bridge", "type", "bridge")
            self._run("-n", self._switch, "link", "set", "bridge", "up")
            for name, address in self._addresses.items():
                space = self.space(name)
                self._run("netns", "add", space)
                self._run("-n", space, "link", "add", "port", "type", "veth", "peer", name, "netns", self._switch)
                self._run("-n", self._switch, "link", "set", name, "master", "bridge", "up")
                self._run("-n", space, "address", "add", f"{address}/24", "dev", "port")
                for link in ("lo", "port"):
                    self._run("-n", space, "link", "set", link, "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in (self._switch, *map(self.space, self._addresses)):
            subprocess.run([self._ip, "netns", "delete", name], check=False, timeout=DEADLINE, capture_output=True)

    def _run(self, *words):
        subprocess.run([self._ip, *words], check=True, timeout=DEADLINE)

    def enter(self, name):
        """Have this thread, for good, make its sockets in a namespace (setns(2))."""
        fd = os.open(f"/run/netns/{self.space(name)}", os.O_RDONLY)
        setns(fd)
        os.close(fd)


@contextlib.contextmanager
def inside(path):
    """Let this thread make its sockets in the network namespace of a file (setns(2)); they stay there."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    wanted = os.open(path, os.O_RDONLY)
    try:
        setns(wanted)
        yield
    finally:
        setns(before)
        os.close(before)
        os.close(wanted)


def setns(fd):
    """Enter a network namespace."""
    if LIBC.setns(fd, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
