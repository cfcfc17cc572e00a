"""The children's processes beside their parent: a child has its connection alone, and all else from the daemon."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from echod.cli.proc import STANDARD
from echod.cli.status.daemon_check import Line
from echod.cli.status.text import size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echod.cli.proc import Process

SAME = (
    "session", "terminal", "directory", "umask", "uids", "gids", "groups", "capabilities", "limits", "environment",
    "blocked",
)  # fmt: skip
TRIAL = "--trial"  # a child that is the trial of an upgrade
MAY_DIFFER = {signal.SIGCHLD, signal.SIGALRM}  # that the daemon catches at times; the lifetime's timer
WANTED = "one connection, else as the daemon"


def child_lines(
    daemon: Process, children: list[Process], peers: dict[int, str], sockets: dict[str, str]
) -> Iterator[Line]:
    """Yield a line for each child of the daemon, and one for those that it has not reaped.

    `peers` are those on the scoreboard, by pid. Orphans that PID 1 adopts, and other programs, are none of its.
    """
    words = {word for word in daemon.command if word.startswith("pid_file=")}  # an upgrade changes others
    own = [child for child in children if words & set(child.command) and TRIAL not in child.command]
    for child in sorted(own, key=lambda child: child.pid):
        yield line_of(daemon, child, peers.get(child.pid, "not yet recorded"), sockets)
    zombies = [str(child.pid) for child in children if child.code == "Z"]
    yield Line("zombies", ", ".join(zombies) or "none", "none", not zombies)


def line_of(daemon: Process, child: Process, peer: str, sockets: dict[str, str]) -> Line:
    """Return the line of a child: its state, its peer, and in what it differs from the daemon."""
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
