"""`check`: the settings that would be in effect, what this machine cannot provide, and who would be admitted."""

from __future__ import annotations

import grp
import sys
from typing import TYPE_CHECKING

from echod.cli.check import explain, files, limits, ports
from echod.cli.check.plan import Plan
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
    plan = Plan(Paths(args.config, args.options))
    if args.explain:
        print(printable("\n".join(explain.lines(plan, args.explain))))
    else:
        print(printable("\n".join(listing(plan))))
    sys.stdout.flush()
    warnings = [*limits.warnings(plan), *ports.warnings(plan), *files.warnings(plan)]
    warnings += filter(None, [without_syslog(plan.config.log)])
    for text in warnings:
        print(f"echod: warning: {printable(text)}", file=sys.stderr)
    return FAILED if args.strict and warnings else DONE


def listing(plan: Plan) -> Iterator[str]:
    """Yield the settings that would be in effect as lines of a config file, each with its origin."""
    yield "[echod]"
    shown = {"pid_file": plan.paths.pid_file, "user": plan.user, "group": group_name(plan.gid)}
    for name in SETTINGS:
        text = f"{name} = {shown.get(name, plan.config.text(name))}".rstrip()
        yield f"{text:<{ORIGIN_COLUMN}} # {plan.origin(name)}"


def group_name(gid: int) -> str:
    """Return the name of a group, or the number if it has no name."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
