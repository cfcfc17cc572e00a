"""What is on a command line: a command, options, or a word that echod does not have, which is named with what is meant.

argparse would take the value of an unknown option for the command, and name that.
"""

from __future__ import annotations

from importlib import import_module

from echod.common.config.settings import SETTINGS
from echod.common.errors import USAGE, EchodError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Action, ArgumentParser
    from collections.abc import Iterable
    from types import ModuleType


def has_command(words: list[str], top: ArgumentParser, commands: Iterable[str]) -> bool:
    """Return True if there is a command, or an option in its place. Raises EchodError, USAGE, for an unknown word.

    argparse would take the value of an unknown option for the command, and name that.
    """
    now, command, rest = top, "", list(words)
    while rest:
        word = rest.pop(0)
        if word[:1] != "-":
            if command == "help" and word in SETTINGS:
                continue
            if not command or command == "help":
                now, command = sub_parser(word, top, commands), command or word
                continue
            hint = habits().meant(word) or f"see {now.prog} --help"
            raise EchodError(f"unexpected word '{word}' after {command}; {hint}", USAGE)
        found = option_of(word, now)
        if found is None:
            hint = habits().option(word, commands) or f"see {now.prog} --help"
            raise EchodError(f"unknown option {word}; {hint}", USAGE)
        if found.nargs == 0:
            command = command or "--help"
        else:
            value = rest.pop(0) if word in found.option_strings and rest else word[2:]
            if found.metavar == "KEY=VALUE" and value and "=" not in value:
                name = habits().setting(value) or value
                raise EchodError(f"-o {value}: has no value; write -o {name}=VALUE", USAGE)
    return bool(command)


def sub_parser(command: str, top: ArgumentParser, commands: Iterable[str]) -> ArgumentParser:
    """Return the parser of a command. Raises EchodError, USAGE."""
    for action in top._actions:  # noqa: SLF001 - argparse has no other way to ask
        if isinstance(action.choices, dict) and command in action.choices:
            found: ArgumentParser = action.choices[command]
            return found
    raise EchodError(f"unknown command '{command}'; {habits().command(command, commands)}", USAGE)


def option_of(word: str, parser: ArgumentParser) -> Action | None:
    """Return the option that a word is, `--opt` and `--opt=X` and `-oX` too, or None."""
    known = parser._option_string_actions  # noqa: SLF001 - argparse has no other way to ask
    name = word.partition("=")[0] if word.startswith("--") else word[:2]
    near = [known[each] for each in known if word.startswith("--") and each.startswith(name) and name != "--"]
    return known.get(name) or (near[0] if len(set(near)) == 1 else None)


def habits() -> ModuleType:
    """Return the tables of what people type who run other daemons, which only errors need."""
    return import_module("echod.cli.habits")
