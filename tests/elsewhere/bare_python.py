"""A Python without what some are built without: run this file instead of Python, with Python's arguments.

As on Python's own command line: `-I -S` are ignored, then `-m MODULE`, `-c CODE` or FILE follows. The environment
names the program that runs this file, so that a daemon executes the same Python.
"""

from __future__ import annotations

import os
import posix
import runpy
import signal
import sys

PROGRAM = sys.argv[1]
CALLS = {
    posix: ("memfd_create", "pidfd_open", "posix_fallocate"),
    os: ("memfd_create", "pidfd_open", "posix_fallocate"),
    sys.modules["_signal"]: ("pidfd_send_signal",),
    signal: ("pidfd_send_signal",),
}
MODULES = "ctypes", "_ctypes", "curses", "_curses"


class Missing:
    """An import hook that finds none of MODULES."""

    @staticmethod
    def find_spec(name, _path, _target=None):
        """Raise what Python raises for a module that it was built without."""
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def main():
    """Take away, and run what the arguments name."""
    for module, names in CALLS.items():
        for name in names:
            delattr(module, name)
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Missing)
    sys.executable = PROGRAM
    sys.orig_argv = [PROGRAM, *sys.argv[2:]]
    words = [word for word in sys.argv[2:] if word not in ("-I", "-S")]
    if words[0] == "-m":
        sys.argv = ["", *words[2:]]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        exec(words[1], {"__name__": "__main__"})
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main()
