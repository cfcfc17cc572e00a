"""`status --processes`: the daemon itself, as /proc has it, next to what it should be (daemon(7)).

It judges what `proc` has read, and reads nothing. `processes` has the command, and the children.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, NamedTuple

from echod.cli.context import user_name
from echod.cli.launch import KEPT, KEPT_BY_RUN, LEAN
from echod.cli.proc import CORE, FILES, PROCESSES, STANDARD, UNKNOWN, is_there
from echod.cli.status.text import size
from echod.common.signals_table import DEFAULT, HANDLED, HIGHEST, RESERVED, signal_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echod.cli.proc import Process
    from echod.cli.status.expected import Expected
    from echod.common.launch import Launch

ANY = "any: it runs in the foreground"
ENVIRONMENT = {*LEAN, "LISTEN_PID", "LISTEN_FDS"}
CAUGHT = HANDLED.keys() - {signal.SIGCHLD}  # that one only at times
HARMLESS = DEFAULT | {signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH}  # by default they end no process
MOST_PRIVATE_BYTES = 16 << 20  # it grows by some hundred bytes per client
SPARE_DESCRIPTORS = 8  # that it needs for a moment, in addition to those it has


class Line(NamedTuple):
    """A thing examined, what it is and what it should be; `ok` is None if that is unknown."""

    what: str
    found: str
    wanted: str
    ok: bool | None


class DaemonCheck:
    """The lines of the daemon itself.

    `config` has the settings as they are now; None: they cannot be read. `files` has the purpose of each of its own
    files, by path.
    """

    def __init__(
        self,
        process: Process,
        launch: Launch,
        config: Expected | None,
        sockets: dict[str, str],
        files: dict[str, str],
    ) -> None:
        self.process, self.launch, self.config, self.sockets, self.files = process, launch, config, sockets, files
        self.foreground = launch.log == "stderr"  # `echod run`

    def lines(self) -> Iterator[Line]:
        """Yield all lines."""
        yield from self.origin()
        yield from self.surroundings()
        yield from self.descriptors()
        yield from self.identity()
        yield from self.signals()
        yield from self.resources()

    def origin(self) -> Iterator[Line]:
        """Yield its state, and whether a shell or a terminal can still end it."""
        one = self.process
        stopped = f"{one.state} (SIGSTOP); SIGCONT lets it go on" if one.code == "T" else one.state
        yield Line("state", stopped, "sleeping or running", one.code in "SRD")
        leader = is_there(one.session)
        alone = one.session not in (one.pid, 0) and not leader
        found = f"{one.session}, whose leader {'is there' if leader else 'is gone'}"
        if self.foreground:
            yield Line("parent", f"{one.parent}", ANY, True)
            yield Line("session", found, ANY, True)
            yield Line("terminal", terminal(one.terminal), ANY, True)
        else:
            adopted = one.parent == 1 or one.parent != one.session
            yield Line("parent", f"{one.parent}", "1, or what adopts orphans", adopted)
            yield Line("session", found, "its own, and not its leader", alone)
            yield Line("terminal", terminal(one.terminal), "none", one.terminal == 0)
        yield Line("threads", one.threads, "1", one.threads == "1")

    def surroundings(self) -> Iterator[Line]:
        """Yield what it would pass on to its children."""
        one, config = self.process, self.config
        yield match("directory", one.directory, config.directory if config else UNKNOWN)
        yield match("umask", one.umask, config.umask if config else UNKNOWN)
        known = ENVIRONMENT | {*(KEPT_BY_RUN if self.foreground else KEPT)}
        more = [name for name in one.environment if name not in known]
        ok = None if one.environment == [UNKNOWN] else not more
        yield Line("environment", " ".join(one.environment), f"at most {' '.join(sorted(known))}", ok)

    def descriptors(self) -> Iterator[Line]:
        """Yield the purpose of each descriptor."""
        found = self.process.descriptors
        if found is None:
            yield Line("descriptors", UNKNOWN, "its own only", None)
            return
        for fd in STANDARD:
            link = found.get(fd, "closed")
            wanted = ANY if self.foreground else os.devnull
            yield Line(f"descriptor {fd}", self.sockets.get(link, link), wanted, self.foreground or link == wanted)
        for fd, link in found.items():
            if fd not in STANDARD:
                yield self.descriptor(fd, link)

    def descriptor(self, fd: int, link: str) -> Line:
        """Return the line of a descriptor that is not one of 0 to 2."""
        own = self.files | {
            os.devnull: "nothing", f"/proc/{self.process.pid}/oom_score_adj": "its score",
            "/memfd:trial (deleted)": "upgrade", "/memfd:state (deleted)": "upgrade",
        }  # fmt: skip
        if self.config:
            own[self.config.log] = "log"
        text = self.sockets.get(link) or own.get(link)
        if link.startswith("pipe:"):
            both = list((self.process.descriptors or {}).values()).count(link) > 1
            return Line(f"descriptor {fd}", f"pipe, {'both ends' if both else 'one end'}", "its own", both)
        known: bool | None = text is not None and not text.startswith("connection")
        if text is None and (link.startswith("socket:") or (link.startswith("/") and not self.config)):
            known = None  # the tables of sockets cannot be read, or the name of the log is unknown
        return Line(f"descriptor {fd}", f"{text}: {link}" if text and link in own else text or link, "its own", known)

    def identity(self) -> Iterator[Line]:
        """Yield its user, its groups and its capabilities."""
        one, uid, gid = self.process, self.launch.uid, self.launch.gid
        uids, gids = set(one.uids), set(one.gids)
        dropped = uid >= 0
        wanted = user_name(uid) if dropped else "one"
        yield Line(
            "user", ", ".join(map(user_name, sorted(uids))), wanted, uids == {uid} if dropped else len(uids) == 1
        )
        wanted = str(gid) if dropped else "one"
        yield Line("group", ", ".join(map(str, sorted(gids))), wanted, gids == {gid} if dropped else len(gids) == 1)
        wanted = str(gid) if dropped else "its caller's"
        yield Line("groups", ", ".join(map(str, one.groups)) or "none", wanted, not dropped or one.groups == [gid])
        held = {name: value for name, value in one.capabilities.items() if value.strip("0")}
        free = uids == {0} or self.foreground
        found = ", ".join(f"{name} {value}" for name, value in held.items())
        yield Line("capabilities", found or "none", "its caller's" if free else "none", free or not held)

    def signals(self) -> Iterator[Line]:
        """Yield the effect of signals on it."""
        one = self.process
        if one.is_forking:
            yield Line("blocked", "all, since it was stopped inside fork(3)", "none", True)
        else:
            yield Line("blocked", names(one.blocked) or "none", "none", not one.blocked)
        yield Line("handled", names(one.caught), names(CAUGHT), one.caught >= CAUGHT)
        ended = set(range(1, HIGHEST + 1)) - one.caught - one.ignored - HARMLESS
        reserved = " ".join(map(str, RESERVED))
        wanted = f"none but SIGKILL, faults, and {reserved}, which the C library lets no program handle"
        yield Line("ended by", names(ended) or "none", wanted, not ended - {*RESERVED})

    def resources(self) -> Iterator[Line]:
        """Yield its limits and its memory."""
        one = self.process
        core, processes, files = (one.limits.get(name, UNKNOWN) for name in (CORE, PROCESSES, FILES))
        yield match("core dumps", core, "0")
        most = self.config.max_children if self.config else 0
        enough = not processes.isdecimal() or int(processes) > most
        yield Line("processes", f"at most {processes}", f"more than max_children, {most}", enough)
        used = len(one.descriptors or ())
        enough = not files.isdecimal() or int(files) >= used + SPARE_DESCRIPTORS
        yield Line("open files", f"at most {files}", f"{used + SPARE_DESCRIPTORS} or more", enough)
        if one.private is None or one.shared is None:
            yield Line("memory", UNKNOWN, f"at most {size(MOST_PRIVATE_BYTES)} private", None)
        else:
            found = f"{size(one.private)} private, {size(one.shared)} shared"
            yield Line(
                "memory", found, f"at most {size(MOST_PRIVATE_BYTES)} private", one.private <= MOST_PRIVATE_BYTES
            )


def match(what: str, found: str, wanted: str) -> Line:
    """Return the line of a thing that must equal what it should be; `ok` is None if one of the two is unknown."""
    return Line(what, found, wanted, None if UNKNOWN in (found, wanted) else found == wanted)


def terminal(number: int) -> str:
    """Return the name of a controlling terminal by its device number, which is 0 without one."""
    return f"{os.major(number)}:{os.minor(number)}" if number else "none"


def names(signums: set[int] | set[signal.Signals]) -> str:
    """Return the names of signals, without their SIG."""
    return " ".join(signal_name(number).removeprefix("SIG") for number in sorted(signums))
