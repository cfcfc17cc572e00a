"""`check`: parse the config and print the settings that would be in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echod.cli.identity import identify
from echod.cli.paths import Paths
from echod.cli.preflight import warn
from echod.common.config.settings import SETTINGS
from echod.common.errors import DONE

if TYPE_CHECKING:
    from argparse import Namespace


def check(args: Namespace) -> int:
    """Print the settings. Raises ConfigError, or EchodError when `user` cannot be become."""
    paths = Paths(args.config, args.options)
    config = paths.load()
    handover = paths.handover()
    identify(paths, config, handover)
    warn(config, handover)
    shown = {"pid_file": paths.pid_file}
    for name in SETTINGS:
        print(f"{name} = {shown.get(name, config.text(name))}".rstrip())
    return DONE
