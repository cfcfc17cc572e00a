"""The commands' first instructions: Ctrl-C while the rest is being imported ends them at once, without a traceback."""

from __future__ import annotations

import signal
from importlib import import_module


def enter(module: str) -> int:
    """Import the module of a program and run its `main`; returns the exit code."""
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # or the caller has it ignored
    if is_default:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    main = import_module(module).main
    if is_default:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    code: int = main()
    return code


def echod() -> int:
    """Run the daemon's command line."""
    return enter("echod.cli.main")


def echoc() -> int:
    """Run the client's command line."""
    return enter("echod.echoc.cli")


if __name__ == "__main__":
    raise SystemExit(echod())
