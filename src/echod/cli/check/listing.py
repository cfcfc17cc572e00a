"""The settings that would be in force, as lines of a config file, each with where it comes from."""

from __future__ import annotations

import grp
from typing import TYPE_CHECKING

from echod.common.config.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echod.cli.check.plan import Plan

COLUMN = 40  # of the origins


def lines(plan: Plan) -> Iterator[str]:
    """Yield the lines: they can be used as a config file."""
    yield "[echod]"
    shown = {"pid_file": plan.paths.pid_file, "user": plan.user, "group": group_name(plan.gid)}
    for name in SETTINGS:
        text = f"{name} = {shown.get(name, plan.config.text(name))}".rstrip()
        yield f"{text:<{COLUMN}} # {plan.origin(name)}"


def group_name(gid: int) -> str:
    """Return the name of a group, or the number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
