"""The one reader of /proc (proc(5)): processes, limits, cgroups, mounts, and the sockets of a network namespace.

It reads and parses, and judges nothing: `status` compares what it returns with what should be, and `check` with what
the settings need. It is separate so that each format of the kernel is known in one place. Unless a docstring says
otherwise, a function raises OSError if the file is missing, if the process has ended, or if only another user may
read the file.
"""

from __future__ import annotations

import contextlib
import os
import sys

from echod.common.cmodules import signal, socket

TYPE_CHECKING = False
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
BLOCKED_BY_FORK = set(range(1, 32)) - {signal.SIGKILL, signal.SIGSTOP}  # which nothing blocks
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
        self.command = self._seen(read, "cmdline").split("\0")
        self.limits = self._limits()
        self.oom = self._seen(read, "oom_score_adj").strip()
        self.environment = sorted(word.partition("=")[0] for word in self._seen(read, "environ").split("\0") if word)
        self.directory = self._seen(link, "cwd")
        self.descriptors = self._descriptors()
        self.private, self.shared = self._memory()
        stat(pid)  # what is missing is unknown, unless it is missing because the process has ended

    @property
    def state(self) -> str:
        """Return the state in words."""
        return STATES.get(self.code, self.code)

    @property
    def is_forking(self) -> bool:
        """Return True if it was stopped inside fork(3), for whose duration the C library blocks all signals."""
        return self.code in "Tt" and self.blocked >= BLOCKED_BY_FORK

    def _seen(self, look: Callable[[Pid, str], str], name: str) -> str:
        """Return what `look` finds, or UNKNOWN if this user may not see it or if there is no such file."""
        try:
            return look(self.pid, name)
        except OSError:
            return UNKNOWN

    def _limits(self) -> dict[str, str]:
        """Return the soft limits, none of them if this user may not see them."""
        try:
            return soft_limits(self.pid, LIMITS)
        except OSError:
            return {}

    def _descriptors(self) -> dict[int, str] | None:
        """Return the target of each descriptor, or None if this user may not see them."""
        try:
            return dict(sorted(descriptors(self.pid)))
        except OSError:
            return None

    def _memory(self) -> tuple[int | None, int | None]:
        """Return how many bytes it has for itself, and how many it shares with others."""
        lines = self._seen(read, "smaps_rollup").splitlines()
        if lines == [UNKNOWN] or not lines:  # a zombie has none
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
    with open(path(pid, name), "rb", buffering=0) as file:
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


def status(pid: Pid) -> dict[str, str]:
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


def children_of(parent: int) -> list[int]:
    """Return the pids of a process's children, exited ones too.

    The kernel may have been built without the list of them. Then every process is asked for its parent.
    """
    try:
        return list(map(int, read(parent, f"task/{parent}/children").split()))
    except OSError:
        found = []
        for pid in pids():
            with contextlib.suppress(OSError):
                if parent_of(pid) == parent:
                    found.append(pid)
        return found


def threads_of_user(uid: int, daemon: int) -> int:
    """Count the threads of a user, without those of `daemon`, if it is not 0, and of its children.

    The status of a process is read for each of the others only: a daemon may have ten thousand children.
    """
    family = set()
    if daemon:
        with contextlib.suppress(OSError):
            family = {daemon, *children_of(daemon)}
    found = 0
    for pid in pids():
        if pid in family:
            continue
        with contextlib.suppress(OSError, KeyError, ValueError):  # it ended in between
            fields = status(pid)
            is_new_child = daemon and int(fields["PPid"]) == daemon
            if int(fields["Uid"].split()[0]) == uid and not is_new_child:
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


def has_our_network(pid: Pid) -> bool:
    """Return True if a process is in the network namespace of this process: each has a file `tcp` of its own.

    The link ns/net says the same, but only to those who may trace the process.
    """
    theirs, ours = (os.stat(path(who, "net/tcp")) for who in (pid, SELF))
    return os.path.samestat(theirs, ours)


def holders(sockets: set[str]) -> dict[int, int]:
    """Return the uid of each process that has one of these sockets, by its pid, as far as this user may see it."""
    found = {}
    for pid in pids():
        with contextlib.suppress(OSError):
            if not sockets.isdisjoint(target for _, target in descriptors(pid)):
                found[pid] = os.stat(path(pid, "")).st_uid
    return found
