"""`status --processes`: the daemon and its children, as /proc has them, next to what they should be.

What a process says of itself is believed by nobody here: the command line of the process that holds the lock is another
user's word. It is decoded and bounded, and `expected` follows it with that user's rights. Whether the daemon has ended
is asked of its pidfd, not of /proc, which may be hidden (hidepid) or missing.
A daemon may have ten thousand children. For each the state is read, and for MOST_CHILDREN of them all the rest.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

from echod.cli.context import board_path
from echod.cli.netstat import sockets_of
from echod.cli.proc import STANDARD, UNKNOWN, Process, children_of, stat
from echod.cli.status.examine import DaemonCheck, Line
from echod.cli.status.expected import expected
from echod.cli.status.text import aligned, size
from echod.common.errors import DONE, FAILED, NOT_RUNNING, EchodError, describe
from echod.common.launch import Launch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echod.cli.daemon import Daemon

CANNOT_TELL = 4  # the exit code of a look in which something is unknown
LOOKS = 5  # at most: a child that is about to be reaped is in order at the next one
PAUSE_S = 0.05  # between two looks
BOOT = "boot.py"  # the program of the server's image; its arguments follow
MOST_CHILDREN = 100  # examined one by one, unless all are asked for
MOST_ZOMBIES = 20  # named
SAME = (  # what a child has as the daemon has it
    "session", "terminal", "directory", "umask", "uids", "gids", "groups", "capabilities", "limits", "environment",
)  # fmt: skip
TRIAL = "--trial"  # an argument of the child that is the trial of an upgrade
MAY_DIFFER = {signal.SIGCHLD, signal.SIGALRM}  # the daemon catches SIGCHLD at times; the lifetime has a timer
WANTED = "one connection, else as the daemon"
FINE = "SRD"  # the states of a process that runs or sleeps
ZOMBIE = "Z"


def processes(daemon: Daemon, pid_file: str, columns: int | None, *, show_all: bool = False) -> tuple[str, int]:
    """Return a line for each thing examined, and the exit code: 1 if one is not in order, 4 if one is unknown.

    What is not in order is examined again, since it may be in progress. Raises EchodError, NOT_RUNNING if the daemon
    has just ended.
    """
    for look in range(LOOKS):
        if look:
            time.sleep(PAUSE_S)
        lines = examine(daemon, pid_file, show_all=show_all)
        if all(line.ok is not False for line in lines):
            break
    code = CANNOT_TELL if any(line.ok is None for line in lines) else DONE
    return aligned(lines, columns), FAILED if any(line.ok is False for line in lines) else code


def examine(daemon: Daemon, pid_file: str, *, show_all: bool) -> list[Line]:
    """Return the lines of a daemon and its children. Raises EchodError."""
    try:
        lines = list(look(daemon, pid_file, show_all=show_all))
    except OSError as error:
        lines = [Line("processes", f"unknown: {describe(error)}", "readable; root may read more", None)]
    except EchodError:
        if not daemon.wait(0):
            raise
    if daemon.wait(0):  # what was read may be another process with its number
        raise EchodError(f"process {daemon.pid} has just ended", NOT_RUNNING)
    return lines


def look(daemon: Daemon, pid_file: str, *, show_all: bool) -> Iterator[Line]:
    """Yield the lines of a daemon and its children. Raises EchodError, OSError if /proc does not show the daemon."""
    process = Process(daemon.pid)
    launch = launch_of(process)
    states = states_of(children_of(daemon.pid))
    children = read_children(states, len(states) if show_all else MOST_CHILDREN)
    links = [link for one in (process, *children) for link in (one.descriptors or {}).values()]
    sockets = sockets_of(daemon.pid, links)
    peers = {client[0]: client[1] for client in daemon.board().copy().clients()}
    files = {real(pid_file): "pid file", real(board_path(pid_file)): "scoreboard"}
    yield from DaemonCheck(process, launch, expected(process, launch, pid_file), sockets, files).lines()
    yield from child_lines(process, children, peers, sockets)
    yield from other_lines(states, len(children))


def real(path: str) -> str:
    """Return a path with the links of its directory resolved; the file itself is not a link."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def launch_of(process: Process) -> Launch:
    """Return what the server was told when it was executed. Raises EchodError."""
    words = process.command
    for at, word in enumerate(words):
        if word.endswith(BOOT):
            with contextlib.suppress(ValueError):
                return Launch.from_items(words[at + 1 :])
    raise EchodError(f"process {process.pid} is not a server of this version of echod; restart it")


def states_of(pids: list[int]) -> dict[int, str]:
    """Return the code of the state of each process that has not been reaped."""
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            found[pid] = stat(pid)[0]
    return found


def read_children(states: dict[int, str], most: int) -> list[Process]:
    """Return `most` of the children that have not exited: those that are stopped first, then some of all ages."""
    living = [pid for pid, code in states.items() if code != ZOMBIE]
    living.sort(key=lambda pid: states[pid] in FINE)
    odd = sum(states[pid] not in FINE for pid in living)
    room = max(1, most - odd)
    step = max(1, -(-(len(living) - odd) // room))  # rounded up
    found = []
    for pid in [*living[:odd], *living[odd::step]][:most]:
        with contextlib.suppress(OSError):  # it was reaped in between
            found.append(Process(pid))
    return found


def other_lines(states: dict[int, str], examined: int) -> Iterator[Line]:
    """Yield a line for the children of which only the state was read, if there are any, and one for the zombies."""
    zombies = [pid for pid, code in states.items() if code == ZOMBIE]
    left_out = len(states) - len(zombies) - examined
    if left_out > 0 and examined >= MOST_CHILDREN:
        found = f"{left_out} more, of which only the state was read; --all examines them"
        odd = sum(code not in FINE + ZOMBIE for code in states.values()) > examined
        yield Line("children", found, "sleeping or running", not odd)
    named = ", ".join(map(str, zombies[:MOST_ZOMBIES]))
    more = f" and {len(zombies) - MOST_ZOMBIES} more" if len(zombies) > MOST_ZOMBIES else ""
    yield Line("zombies", f"{named}{more}" or "none", "none", not zombies)


def child_lines(
    daemon: Process, children: list[Process], peers: dict[int, str], sockets: dict[str, str]
) -> Iterator[Line]:
    """Yield a line for each child of the daemon.

    `peers` has the clients on the scoreboard, by pid. Orphans that PID 1 adopts, and other programs, are left out.
    """
    words = {word for word in daemon.command if word.startswith("pid_file=")}  # an upgrade changes others
    own = [child for child in children if words & set(child.command) and TRIAL not in child.command]
    for child in sorted(own, key=lambda child: child.pid):
        yield line_of(daemon, child, peers.get(child.pid, "not yet recorded"), sockets)


def line_of(daemon: Process, child: Process, peer: str, sockets: dict[str, str]) -> Line:
    """Return the line of a child: its state, its peer, and its differences from the daemon."""
    differs = [name for name in SAME if getattr(child, name) != getattr(daemon, name)]
    if child.blocked != daemon.blocked and not daemon.is_forking:
        differs.append("blocked")
    if (child.caught ^ daemon.caught) - MAY_DIFFER or (child.ignored ^ daemon.ignored) - MAY_DIFFER:
        differs.append("signals")
    ok: bool | None = not differs and child.code in FINE
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
    if child.oom not in (daemon.oom, UNKNOWN):
        found.append(f"oom_score_adj {child.oom}")
    if child.private is not None:
        found.append(f"{size(child.private)} private")
    found += [f"differs in {name}" for name in differs]
    return Line(f"child {child.pid}", ", ".join(found), WANTED, ok)
