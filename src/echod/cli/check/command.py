"""`check`: the settings that would be in force, what this machine cannot give, and who would be admitted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from echod.cli.check import explain, files, limits, listing, ports
from echod.cli.check.plan import Plan
from echod.cli.paths import Paths
from echod.common.errors import DONE, FAILED, printable

if TYPE_CHECKING:
    from argparse import Namespace


def check(args: Namespace) -> int:
    """Print the settings, or the explanation that is asked for. Raises EchodError."""
    plan = Plan(Paths(args.config, args.options))
    if args.explain:
        print("\n".join(explain.lines(plan, args.explain)))
    else:
        print(printable("\n".join(listing.lines(plan))))
    sys.stdout.flush()
    warnings = [*limits.warnings(plan), *ports.warnings(plan), *files.warnings(plan)]
    for text in warnings:
        print(f"echod: warning: {printable(text)}", file=sys.stderr)
    return FAILED if args.strict and warnings else DONE
