"""Run `echod WORDS...` with the server's image under strace, counted from its execve: STRACE holds strace's words.

strace -D is not the parent of what it traces: the server keeps its process id and its parent.
"""

from __future__ import annotations

import os
import shutil
import sys

from echod.cli.main import main

execve = os.execve


def traced(path, words, environment):
    """Execute strace in place of the server's image, and that under it."""
    strace = shutil.which("strace") or "strace"
    extra = [f"-E{name}={value}" for name, value in environment.items()]
    execve(
        strace, [strace, "-D", *os.environ["STRACE"].split(), *extra, path, *words[1:]], {"PATH": os.environ["PATH"]}
    )


os.execve = traced
sys.exit(main())
