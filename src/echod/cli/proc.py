"""The one reader of /proc (proc(5)): processes, limits, cgroups, mounts, and the sockets of a network namespace.

It reads and parses, and judges nothing: `status` compares what it returns with what should be, and `check` with what
the settings need. It is separate so that each format of the kernel is known in one place. Unless a docstring says
otherwise, a function raises OSError if the file is missing, if the process has ended, or if only another user may
read the file.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from typing import TYPE_CHECKING

from echod.common.config.addresses import write_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Pid = int | str
ROOT = "/proc"
SELF: Pid = "self"  # the process that asks
SOMAXCONN = f"{ROOT}/sys/net/core/somaxconn"
KIB = 1024
STATES = {
    "R": "running", "S": "sleeping", "D": "waiting for a device", "T": "stopped by a signal",
    "t": "stopped by a debugger", "Z": "zombie", "X": "dead", "I": "idle",
}  # fmt: skip
STANDARD = range(3)  # descriptors: stdin, stdout, stderr
CORE = "Max core file size"
PROCESSES = "Max processes"
FILES = "Max open files"
LIMITS = CORE, PROCESSES, FILES
CAPABILITIES = "CapInh", "CapPrm", "CapEff", "CapAmb"
UNKNOWN = "?"  # only root may see it, or the kernel has no such file
LISTEN = "0A"  # the state of a listener in TABLES
TABLES = ("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)
ADDRESS_WORD_BYTES = 4  # an address is written as 32-bit words of the machine's byte order


class Process:
    """A process, as it was when this was made. Raises FileNotFoundError or ProcessLookupError when it has ended."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        fields = stat(pid)
        self.code, self.parent, self.session, self.terminal = fields[0], int(fields[1]), int(fields[3]), int(fields[4])
        found = status(pid)
        self.name, self.threads = found["Name"], found.get("Threads", UNKNOWN)
        self.umask = found.get("Umask", UNKNOWN)  # a zombie has none
        self.uids, self.gids = ([int(word) for word in found[key].split()] for key in ("Uid", "Gid"))
        self.groups = [int(word) for word in found["Groups"].split()]
        self.capabilities = {name: found.get(name, UNKNOWN) for name in CAPABILITIES}
        self.blocked, self.ignored, self.caught = (
            signals(int(found.get(name, "0"), 16)) for name in ("SigBlk", "SigIgn", "SigCgt")
        )
        self.command = command_line(pid)
        self.limits = soft_limits(pid, LIMITS)
        self.oom = self._seen(read, "oom_score_adj").strip()
        self.environment = sorted(word.partition("=")[0] for word in self._seen(read, "environ").split("\0") if word)
        self.directory = self._seen(link, "cwd")
        self.descriptors = self._descriptors()
        self.private, self.shared = self._memory()

    @property
    def state(self) -> str:
        """Return the state in words."""
        return STATES.get(self.code, self.code)

    def _seen(self, look: Callable[[Pid, str], str], name: str) -> str:
        """Return what `look` finds, or UNKNOWN if this user may not see it or if a zombie no longer has it."""
        try:
            return look(self.pid, name)
        except PermissionError:
            return UNKNOWN
        except (FileNotFoundError, ProcessLookupError):
            if self.code == "Z":
                return UNKNOWN
            raise

    def _descriptors(self) -> dict[int, str] | None:
        """Return the target of each descriptor, or None if this user may not see them."""
        try:
            return dict(sorted(descriptors(self.pid)))
        except PermissionError:
            return None

    def _memory(self) -> tuple[int | None, int | None]:
        """Return how many bytes it has for itself, and how many it shares with others."""
        try:
            lines = read(self.pid, "smaps_rollup").splitlines()
        except (PermissionError, ProcessLookupError):  # a zombie has none
            return None, None
        sizes = [
            sum(KIB * int(line.split()[1]) for line in lines if line.startswith(kind))
            for kind in ("Private_", "Shared_")
        ]
        return sizes[0], sizes[1]


def path(pid: Pid, name: str) -> str:
    """Return the path of a process's file."""
    return f"{ROOT}/{pid}/{name}"


def read(pid: Pid, name: str) -> str:
    """Return the text of a process's file."""
    with open(path(pid, name), "rb") as file:
        return os.fsdecode(file.read())


def link(pid: Pid, name: str) -> str:
    """Return the target of a process's symbolic link."""
    return os.readlink(path(pid, name))


def pids() -> list[int]:
    """Return the numbers of all processes that this user can see."""
    return [int(name) for name in os.listdir(ROOT) if name.isdecimal()]


def stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on: the name before it may contain any character."""
    return read(pid, "stat").rpartition(")")[2].split()


def status(pid: int) -> dict[str, str]:
    """Return the fields of /proc/PID/status."""
    return dict(line.split(":\t", 1) for line in read(pid, "status").splitlines() if ":\t" in line)


def parent_of(pid: int) -> int:
    """Return the pid of a process's parent."""
    return int(stat(pid)[1])


def is_there(pid: int) -> bool:
    """Return True if the process has not ended: init may take its time to reap one that has."""
    try:
        return stat(pid)[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def command_line(pid: int) -> list[str]:
    """Return the words that a process was executed with; the last one is empty."""
    return read(pid, "cmdline").split("\0")


def soft_limits(pid: Pid, names: Iterable[str]) -> dict[str, str]:
    """Return those of the named soft limits that the kernel has: each a number, or "unlimited"."""
    lines = read(pid, "limits").splitlines()
    return {name: line[len(name) :].split()[0] for name in names for line in lines if line.startswith(name)}


def descriptors(pid: int) -> Iterator[tuple[int, str]]:
    """Yield each descriptor of a process and its target, in no order."""
    for name in os.listdir(path(pid, "fd")):
        with contextlib.suppress(FileNotFoundError):  # it was closed in between
            yield int(name), link(pid, f"fd/{name}")


def signals(mask: int) -> set[int]:
    """Return the signals in a mask."""
    return {number for number in range(1, 65) if mask >> number - 1 & 1}


def children_of(parent: int) -> list[Process]:
    """Return the children of a process."""
    found = []
    for pid in pids():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if parent_of(pid) == parent:
                found.append(Process(pid))
    return found


def threads_of_user(uid: int, daemon: int) -> int:
    """Count the threads of a user, without those of `daemon`, if it is not 0, and of its children."""
    found = 0
    for pid in pids():
        with contextlib.suppress(OSError, KeyError, ValueError):  # it ended in between
            fields = status(pid)
            is_daemons = daemon and daemon in (pid, int(fields["PPid"]))
            if int(fields["Uid"].split()[0]) == uid and not is_daemons:
                found += int(fields["Threads"])
    return found


def cgroups(pid: Pid) -> list[tuple[list[str], str]]:
    """Return the controllers of each cgroup that a process is in, and its path (cgroups(7)).

    The second version of cgroups has one cgroup for a process, with no controllers.
    """
    entries = [line.split(":", 2) for line in read(pid, "cgroup").splitlines()]
    return [(controllers.split(",") if controllers else [], where) for _, controllers, where in entries]


def mounts() -> list[tuple[str, str]]:
    """Return where each file system is mounted, and its kind, in the order in which they were mounted."""
    return [(words[1], words[2]) for words in map(str.split, read(SELF, "mounts").splitlines())]


def somaxconn() -> int:
    """Return the longest accept queue that the kernel gives a listener (listen(2))."""
    with open(SOMAXCONN, encoding="ascii") as file:
        return int(file.read())


def rows(pid: Pid, table: str) -> Iterator[list[str]]:
    """Yield the rows of a table of a process's network namespace, without its head."""
    with open(path(pid, f"net/{table}"), encoding="utf-8", errors="surrogateescape") as file:
        next(file, None)
        yield from map(str.split, file)


def address(text: str, family: socket.AddressFamily) -> tuple[str, int]:
    """Return host and port of an address in a table, as `0100007F:6D4A`."""
    digits, _, port = text.partition(":")
    raw = bytes.fromhex(digits)
    if sys.byteorder == "little":
        raw = b"".join(raw[at : at + ADDRESS_WORD_BYTES][::-1] for at in range(0, len(raw), ADDRESS_WORD_BYTES))
    return socket.inet_ntop(family, raw), int(port, 16)


def sockets_of(pid: int) -> dict[str, str]:
    """Return a description of each socket in a process's network namespace, by the target of its descriptors.

    It is empty where the tables cannot be read.
    """
    found = {}
    for table, family in TABLES:
        with contextlib.suppress(OSError):
            for words in rows(pid, table):
                local, remote = (write_address(address(word, family)) for word in words[1:3])
                text = f"listens on {local}" if words[3] == LISTEN else f"connection with {remote}"
                found[f"socket:[{words[9]}]"] = text
    with contextlib.suppress(OSError):
        for words in rows(pid, "unix"):
            kind = "datagram" if int(words[4], 16) == socket.SOCK_DGRAM else "stream"
            found[f"socket:[{words[6]}]"] = " ".join(["unix", kind, "socket", *words[7:8]])
    return found


def accept_queue(pid: int, listening: list[str]) -> int | None:
    """Return how many clients wait in the accept queues of a process's listeners, or None if that is unknown.

    `listening` has their names. A row in state LISTEN has the number in rx_queue. The kernel lists these rows first:
    the rest of a table, which has a row for each connection, is not read.
    """
    wanted = {unscoped(name) for name in listening}
    total, known = 0, False
    for table, family in TABLES:
        with contextlib.suppress(OSError):
            for words in rows(pid, table):
                if words[3] != LISTEN:
                    break
                if address(words[1], family) in wanted:
                    total += int(words[4].partition(":")[2], 16)
            known = True
    return total if known else None


def unscoped(name: str) -> tuple[str, int]:
    """Return host and port of a listener's name, `HOST:PORT` or `[V6%IFACE]:PORT`: the tables have no interface."""
    host, _, port = name.rpartition(":")
    return host.strip("[]").partition("%")[0], int(port) if port.isdecimal() else -1


def holders(sockets: set[str]) -> dict[int, int]:
    """Return the uid of each process that has one of these sockets, by its pid, as far as this user may see it."""
    found = {}
    for pid in pids():
        with contextlib.suppress(OSError):
            if any(target in sockets for _, target in descriptors(pid)):
                found[pid] = os.stat(path(pid, "")).st_uid
    return found
