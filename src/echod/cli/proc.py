"""What /proc tells of a process (proc(5)), read once; and of the sockets that it has."""

from __future__ import annotations

import contextlib
import os
import socket

from echod.cli.status.queue import LISTEN, TABLES, address
from echod.common.config.addresses import write_address

KIB = 1024
STATES = {
    "R": "running", "S": "sleeping", "D": "waiting for a device", "T": "stopped by a signal",
    "t": "stopped by a debugger", "Z": "zombie", "X": "dead", "I": "idle",
}  # fmt: skip
STANDARD = range(3)  # descriptors: stdin, stdout, stderr
CORE, PROCESSES, FILES = LIMITS = "Max core file size", "Max processes", "Max open files"
CAPABILITIES = "CapInh", "CapPrm", "CapEff", "CapAmb"
UNKNOWN = "?"  # what only root may see, or a kernel without that file does not tell


class Process:
    """A process, as it was when this was made. Raises FileNotFoundError or ProcessLookupError when it is gone."""

    def __init__(self, pid: int) -> None:
        self.pid, self._root = pid, f"/proc/{pid}"
        fields = self._read("stat").rpartition(")")[2].split()
        self.code, self.parent, self.session, self.terminal = fields[0], int(fields[1]), int(fields[3]), int(fields[4])
        status = dict(line.split(":\t", 1) for line in self._read("status").splitlines() if ":\t" in line)
        self.name, self.threads = status["Name"], status.get("Threads", UNKNOWN)
        self.umask = status.get("Umask", UNKNOWN)  # a zombie has none
        self.uids, self.gids = ([int(word) for word in status[key].split()] for key in ("Uid", "Gid"))
        self.groups = [int(word) for word in status["Groups"].split()]
        self.capabilities = {name: status.get(name, UNKNOWN) for name in CAPABILITIES}
        self.blocked, self.ignored, self.caught = (
            signals(int(status.get(name, "0"), 16)) for name in ("SigBlk", "SigIgn", "SigCgt")
        )
        self.command = self._read("cmdline").split("\0")
        lines = self._read("limits").splitlines()
        self.limits = {name: line.split()[-3] for name in LIMITS for line in lines if line.startswith(name)}
        self.oom = self._try("oom_score_adj").strip()
        self.environment = sorted(word.partition("=")[0] for word in self._try("environ").split("\0") if word)
        self.directory = self._link("cwd")
        self.descriptors = self._descriptors()
        self.private, self.shared = self._memory()

    @property
    def state(self) -> str:
        """Return the state in words."""
        return STATES.get(self.code, self.code)

    def _read(self, name: str) -> str:
        with open(f"{self._root}/{name}", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()

    def _try(self, name: str) -> str:
        try:
            return self._read(name)
        except PermissionError:
            return UNKNOWN
        except ProcessLookupError:
            if self.code == "Z":
                return UNKNOWN
            raise

    def _link(self, name: str) -> str:
        try:
            return os.readlink(f"{self._root}/{name}")
        except PermissionError:
            return UNKNOWN
        except FileNotFoundError:
            if self.code == "Z":
                return UNKNOWN
            raise

    def _descriptors(self) -> dict[int, str] | None:
        """Return what each descriptor points to, None where that is not for us to see."""
        found = {}
        try:
            for name in os.listdir(f"{self._root}/fd"):
                with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                    found[int(name)] = os.readlink(f"{self._root}/fd/{name}")
        except PermissionError:
            return None
        return dict(sorted(found.items()))

    def _memory(self) -> tuple[int | None, int | None]:
        """Return how many bytes it has for itself, and shares with others."""
        try:
            lines = self._read("smaps_rollup").splitlines()
        except (PermissionError, ProcessLookupError):  # a zombie has none
            return None, None
        sizes = [
            sum(KIB * int(line.split()[1]) for line in lines if line.startswith(kind))
            for kind in ("Private_", "Shared_")
        ]
        return sizes[0], sizes[1]


def signals(mask: int) -> set[int]:
    """Return the signals in a mask."""
    return {number for number in range(1, 65) if mask >> number - 1 & 1}


def children_of(parent: int) -> list[Process]:
    """Return the children of a process."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"/proc/{pid}/stat", "rb") as file:
                if int(file.read().rpartition(b")")[2].split()[1]) != parent:
                    continue
            found.append(Process(int(pid)))
    return found


def sockets_of(pid: int) -> dict[str, str]:
    """Return what the sockets in the network namespace of a process are, by the name that descriptors link to."""
    found = {}
    for table, family in TABLES:
        for words in rows(pid, table):
            local, remote = (write_address(address(word, family)) for word in words[1:3])
            found[f"socket:[{words[9]}]"] = f"listens on {local}" if words[3] == LISTEN else f"connection with {remote}"
    for words in rows(pid, "unix"):
        kind = "datagram" if int(words[4], 16) == socket.SOCK_DGRAM else "stream"
        found[f"socket:[{words[6]}]"] = " ".join(["unix", kind, "socket", *words[7:8]])
    return found


def rows(pid: int, table: str) -> list[list[str]]:
    """Return the rows of a table in /proc/PID/net, without its head."""
    try:
        with open(f"/proc/{pid}/net/{table}", encoding="utf-8", errors="surrogateescape") as file:
            return [line.split() for line in file][1:]
    except OSError:
        return []
