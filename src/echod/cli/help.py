"""`help`: the commands, the options of one of them, or what a setting does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echod.cli.main import COMMANDS, parser
from echod.cli.words import sub_parser
from echod.common.config.settings import NEW_CLIENTS, RELOAD, RESTART, SETTINGS
from echod.common.errors import DONE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from echod.common.config.settings import Setting

AFTER = {RELOAD: "all clients", NEW_CLIENTS: "new clients"}  # when a reload applies a change


def help(args: argparse.Namespace) -> int:  # noqa: A001 - the name of the command
    """Print the commands, the options of one of them, or what a setting does."""
    top = parser()
    if args.topic in SETTINGS:
        print("\n".join(setting_help(SETTINGS[args.topic])))
    else:
        (sub_parser(args.topic, top, COMMANDS) if args.topic else top).print_help()
    return DONE


def setting_help(setting: Setting) -> Iterator[str]:
    """Yield what an operator has to know of a setting."""
    yield setting.help
    yield f"default  {setting.default or 'empty'}"
    yield f"allowed  {setting.kind.allowed}"
    yield f"reload   {'needs a restart' if setting.effect == RESTART else f'takes effect for {AFTER[setting.effect]}'}"
