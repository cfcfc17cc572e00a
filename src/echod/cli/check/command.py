"""`check`: the settings that would be in effect, what this machine cannot provide, and what happens to a client.

It describes one daemon, its Subject, and its first line names that. It examines, and changes nothing.
"""

from __future__ import annotations

import grp
import sys
from typing import TYPE_CHECKING

from echod.cli.check import explain, files, limits, ports
from echod.cli.check.subject import Subject
from echod.cli.context import Paths
from echod.cli.machine import without_syslog
from echod.common.config.settings import SETTINGS
from echod.common.errors import DONE, FAILED, printable

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

ORIGIN_COLUMN = 40


def check(args: Namespace) -> int:
    """Print the settings, or the explanation for an address, and all warnings. Raises EchodError."""
    subject = Subject(Paths(args.config, args.options))
    if args.explain:
        print(printable("\n".join(explain.lines(subject, args.explain))))
    else:
        print(printable("\n".join(listing(subject))))
    sys.stdout.flush()
    warnings = [*limits.warnings(subject), *ports.warnings(subject), *files.warnings(subject)]
    warnings += filter(None, [without_syslog(subject.config.log)])
    for text in warnings:
        print(f"echod: warning: {printable(text)}", file=sys.stderr)
    return FAILED if args.strict and warnings else DONE


def listing(subject: Subject) -> Iterator[str]:
    """Yield the settings that would be in effect as lines of a config file, each with its origin."""
    yield f"# {subject.name}"
    yield "[echod]"
    shown = {"pid_file": subject.paths.pid_file, "user": subject.user, "group": group_name(subject.gid)}
    for name in SETTINGS:
        text = f"{name} = {shown.get(name, subject.config.text(name))}".rstrip()
        yield f"{text:<{ORIGIN_COLUMN}} # {subject.origin(name)}"


def group_name(gid: int) -> str:
    """Return the name of a group, or the number if it has no name."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
