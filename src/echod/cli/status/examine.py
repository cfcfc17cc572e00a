"""`status --processes`: the daemon and its children, as /proc has them, next to what they should be (daemon(7))."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

from echod.cli.context import user_name
from echod.cli.launch import KEPT, KEPT_BY_RUN, LEAN
from echod.cli.proc import CORE, FILES, PROCESSES, STANDARD, UNKNOWN, Process, children_of, is_there, sockets_of
from echod.cli.status.text import aligned, size
from echod.common.config import settings
from echod.common.errors import DONE, FAILED, NOT_RUNNING, ConfigError, EchodError, printable
from echod.common.launch import Launch
from echod.common.signals_table import DEFAULT, HANDLED, HIGHEST, signal_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echod.cli.daemon import Daemon
    from echod.common.config.settings import Config

CANNOT_TELL = 4  # the exit code of a look in which something is unknown
LOOKS = 5  # at most: a child that is about to be reaped is in order at the next one
PAUSE_S = 0.05  # between two looks
BOOT = "boot.py"  # the program of the server's image; its arguments follow
ANY = "any: it runs in the foreground"
ENVIRONMENT = {*LEAN, "LISTEN_PID", "LISTEN_FDS"}
CAUGHT = HANDLED.keys() - {signal.SIGCHLD}  # that one only at times
HARMLESS = DEFAULT | {signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, 32, 33}  # by default they end no process
MOST_PRIVATE_BYTES = 16 << 20  # it grows by some hundred bytes per client
SPARE_DESCRIPTORS = 8  # that it needs for a moment, in addition to those it has
SAME = (  # what a child has as the daemon has it
    "session", "terminal", "directory", "umask", "uids", "gids", "groups", "capabilities", "limits", "environment",
    "blocked",
)  # fmt: skip
TRIAL = "--trial"  # an argument of the child that is the trial of an upgrade
MAY_DIFFER = {signal.SIGCHLD, signal.SIGALRM}  # the daemon catches SIGCHLD at times; the lifetime has a timer
WANTED = "one connection, else as the daemon"


def processes(daemon: Daemon, columns: int | None) -> tuple[str, int]:
    """Return a line for each thing examined, and the exit code: 1 if one is not in order, 4 if one is unknown.

    Raises EchodError, NOT_RUNNING if the daemon has just ended.
    """
    for look in range(LOOKS):
        if look:
            time.sleep(PAUSE_S)
        lines = examine(daemon)
        if all(line.ok for line in lines):
            break
    code = CANNOT_TELL if any(line.ok is None for line in lines) else DONE
    return printable(aligned(lines, columns)), FAILED if any(line.ok is False for line in lines) else code


def examine(daemon: Daemon) -> list[Line]:
    """Return the lines of a daemon and its children. Raises EchodError."""
    try:
        process = Process(daemon.pid)
        children = children_of(daemon.pid)
    except (FileNotFoundError, ProcessLookupError):
        raise EchodError(f"process {daemon.pid} has just ended", NOT_RUNNING) from None
    sockets = sockets_of(daemon.pid)
    peers = {client[0]: client[1] for client in daemon.board().copy().clients()}
    launch = launch_of(process)
    lines = [
        *DaemonCheck(process, launch, config_of(launch), sockets).lines(),
        *child_lines(process, children, peers, sockets),
    ]
    if daemon.wait(0):  # what was read may be another process with its number
        raise EchodError(f"process {daemon.pid} has just ended", NOT_RUNNING)
    return lines


def launch_of(process: Process) -> Launch:
    """Return what the server was told when it was executed. Raises EchodError."""
    words = process.command
    for at, word in enumerate(words):
        if word.endswith(BOOT):
            with contextlib.suppress(ValueError):
                return Launch.from_items(words[at + 1 :])
    raise EchodError(f"process {process.pid} is not a server of this version of echod; restart it")


def config_of(launch: Launch) -> Config | None:
    """Return the settings as the config has them now, or None if they cannot be read."""
    try:
        return settings.load(launch.config_file, launch.overrides, launch.base, log=launch.log)
    except ConfigError:
        return None


class Line(NamedTuple):
    """A thing examined, what it is and what it should be; `ok` is None if that is unknown."""

    what: str
    found: str
    wanted: str
    ok: bool | None


class DaemonCheck:
    """The lines of the daemon itself. `config` has the settings as they are now; None: they cannot be read."""

    def __init__(self, process: Process, launch: Launch, config: Config | None, sockets: dict[str, str]) -> None:
        self.process, self.launch, self.config, self.sockets = process, launch, config, sockets
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
        yield match("umask", one.umask, f"{config.umask:04o}" if config else UNKNOWN)
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
        own = {
            self.launch.pid_file: "pid file", self.launch.board_file: "scoreboard", os.devnull: "nothing",
            f"/proc/{self.process.pid}/oom_score_adj": "its score", "/memfd:trial (deleted)": "upgrade",
            "/memfd:state (deleted)": "upgrade",
        }  # fmt: skip
        if self.config:
            own[self.config.log] = "log"
        text = self.sockets.get(link) or own.get(link)
        if link.startswith("pipe:"):
            both = list((self.process.descriptors or {}).values()).count(link) > 1
            return Line(f"descriptor {fd}", f"pipe, {'both ends' if both else 'one end'}", "its own", both)
        known = text is not None and not text.startswith("connection")
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
        yield Line("blocked", names(one.blocked) or "none", "none", not one.blocked)
        yield Line("handled", names(one.caught), names(CAUGHT), one.caught >= CAUGHT)
        ended = set(range(1, HIGHEST + 1)) - one.caught - one.ignored - HARMLESS
        yield Line("ended by", names(ended) or "none", "none but SIGKILL and faults", not ended)

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


def child_lines(
    daemon: Process, children: list[Process], peers: dict[int, str], sockets: dict[str, str]
) -> Iterator[Line]:
    """Yield a line for each child of the daemon, and one line for those that it has not reaped.

    `peers` has the clients on the scoreboard, by pid. Orphans that PID 1 adopts, and other programs, are left out.
    """
    words = {word for word in daemon.command if word.startswith("pid_file=")}  # an upgrade changes others
    own = [child for child in children if words & set(child.command) and TRIAL not in child.command]
    for child in sorted(own, key=lambda child: child.pid):
        yield line_of(daemon, child, peers.get(child.pid, "not yet recorded"), sockets)
    zombies = [str(child.pid) for child in children if child.code == "Z"]
    yield Line("zombies", ", ".join(zombies) or "none", "none", not zombies)


def line_of(daemon: Process, child: Process, peer: str, sockets: dict[str, str]) -> Line:
    """Return the line of a child: its state, its peer, and its differences from the daemon."""
    differs = [name for name in SAME if getattr(child, name) != getattr(daemon, name)]
    if (child.caught ^ daemon.caught) - MAY_DIFFER or (child.ignored ^ daemon.ignored) - MAY_DIFFER:
        differs.append("signals")
    ok: bool | None = not differs and child.code in "SRD"
    found = [child.state]
    if child.descriptors is None or daemon.descriptors is None:
        ok = ok and None
    else:
        more = [sockets.get(link, link) for fd, link in child.descriptors.items() if fd not in STANDARD]
        found.append(f"has {' and '.join(more) or 'nothing'} for itself")
        if any(child.descriptors.get(fd) != daemon.descriptors.get(fd) for fd in STANDARD):
            differs.append("descriptors 0 to 2")
        ok = ok and len(more) == 1 and not differs and "listens" not in more[0]
    if not any(peer in text for text in found):
        found.append(f"serves {peer}")
    if child.oom != daemon.oom:
        found.append(f"oom_score_adj {child.oom}")
    if child.private is not None:
        found.append(f"{size(child.private)} private")
    found += [f"differs in {name}" for name in differs]
    return Line(f"child {child.pid}", ", ".join(found), WANTED, ok)
