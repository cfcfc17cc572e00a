"""Why a program has failed: from what it wrote on stderr, and how it ended."""

from __future__ import annotations

from echod.common.cmodules import os
from echod.common.reasons import signal_name


def last_words(stderr: str) -> list[str]:
    """Return the line that says why, with the place where a traceback names one; none where nothing was written."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    said = [line for line in lines if "rror" in line][-1:] or lines[-1:]
    for line in lines[::-1]:
        if line.startswith('File "'):  # File "PATH", line N, in NAME
            path, _, rest = line[6:].partition('", line ')
            return [f"{path}:{rest.partition(',')[0]}: {text}" for text in said]
    return said


def end_of(status: int) -> str:
    """Tell a wait status (waitpid(2)) in words."""
    if os.WIFSIGNALED(status):
        return f"it was ended by {signal_name(os.WTERMSIG(status))}"
    return f"it ended with exit status {os.WEXITSTATUS(status)}"
