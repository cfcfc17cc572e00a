"""The first module of the commands: `status` in its plain forms, and for all else `main`.

Monitoring runs `status` every few seconds on many machines. With the grammar of all commands, it would spend a third of
its time on modules that it does not need. A line is plain if it has -c, -o and one form, each written in full. Whatever
else there is, or fails, is the business of `main`, which reads the line again: `status` changes nothing.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from io import TextIOWrapper
from types import SimpleNamespace

from echod.common.errors import EchodError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

STATUS = "status"
FORMS = ("json", "prometheus", "openmetrics", "processes")
OTHERS: dict[str, Any] = {"later_options": [], "watch": False, "all": False, "interval": 1.0}  # no plain line has them


def plain(words: Sequence[str]) -> SimpleNamespace | None:
    """Return the arguments of a plain line, by the names that the parser of `main` gives them; None for other lines."""
    args = SimpleNamespace(command=STATUS, config=None, options=[], **dict.fromkeys(FORMS, False), **OTHERS)
    rest = iter(words)
    is_status = has_form = False
    for word in rest:
        value = next(rest, "-") if word in ("-c", "-o") else ""
        form = word.removeprefix("--")
        if value.startswith("-"):
            return None
        if word == "-c":
            args.config = value
        elif word == "-o":
            args.options.append(value)
        elif word == STATUS and not is_status:
            is_status = True
        elif is_status and word.startswith("--") and form in FORMS and not has_form:
            setattr(args, form, True)
            has_form = True
        else:
            return None
    return args if is_status else None


def main() -> int:
    """Run a command and return its exit code."""
    args = plain(sys.argv[1:])
    if args is not None:
        try:
            for fd in range(3):
                os.fstat(fd)  # a closed one is opened by `main`
            if isinstance(sys.stdout, TextIOWrapper):
                sys.stdout.reconfigure(errors="backslashreplace")
            code: int = import_module("echod.cli.status.command").status(args)
            sys.stdout.flush()
        except (EchodError, OSError):
            pass
        else:
            return code
    return main_of_all()


def main_of_all() -> int:
    """Run `main`, which has the grammar of all commands."""
    from echod.cli import main as whole  # noqa: PLC0415 - the modules that a plain line does without

    return whole.main()
