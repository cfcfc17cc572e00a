"""strace(1): what a process calls, and calls that fail or are delayed on purpose."""

from __future__ import annotations

import re
import signal
import subprocess
from collections import Counter

from support.wait import need

CALL = re.compile(r"^(?:\d+ +)?(?:<\.\.\. )?([a-z][a-z0-9_]*)\(")
WAKE_UP = re.compile(r'write\(\d+, "[^"]{1,3}", 1\) ')  # a signal's number


class Strace:
    """strace attached to a process for as long as the `with` block lasts; what it saw is in the files `prefix`*."""

    def __init__(self, pid, prefix, *words):
        self.command = [need("strace"), "-o", str(prefix), *words, "-p", str(pid)]
        self.prefix = prefix

    def __enter__(self):
        for old in files(self.prefix):
            old.unlink()
        self.process = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        if "attached" not in line:
            self.__exit__()
            raise ProcessLookupError(line)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)  # it lets the process go, and ends
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()


def files(prefix):
    """Return the files of a trace: `prefix`, or with -ff one for each process."""
    return [
        path
        for path in prefix.parent.glob(f"{prefix.name}*")
        if path.name[len(prefix.name) :].strip(".0123456789") == ""
    ]


def injected(prefix):
    """Return how many calls were made to fail."""
    return sum(path.read_text(errors="replace").count("(INJECTED)") for path in files(prefix))


def impossible(prefix, pid):
    """Tell whether the byte that wakes the loop was failed: its pipe is never full unless it is readable anyway.

    Or a call after the execve of `pid`, the daemon: strace counts in each process that it follows.
    """
    for path in files(prefix):
        later = False
        for line in path.read_text(errors="replace").splitlines():
            match = CALL.match(line)
            later = later or (match is not None and match[1] == "execve" and path.suffix in ("", f".{pid}"))
            if "(INJECTED)" in line and (later or WAKE_UP.search(line)):
                return True
    return False


def calls(path, *, signals=True, until=""):
    """Return, by the name of a call, the how-manieth of that name each is: 1, 2, 3... but for the signals' bytes.

    Those after the call `until` are left out.
    """
    found: dict[str, list[int]] = {}
    counts: Counter[str] = Counter()
    for line in path.read_text(errors="replace").splitlines():
        if match := CALL.match(line):
            if match[1] == until:
                break
            counts[match[1]] += 1
            if not (signals and WAKE_UP.search(line)):
                found.setdefault(match[1], []).append(counts[match[1]])
    return found


def failing(call, errno, when, until=""):
    """Return the words that have strace fail the call for the `when`-th time that it is made, and show `until`.

    brk(2) fails by returning a break that is not the one asked for, and not by an errno: to the C library 0 is one.
    """
    how = "retval=0" if call == "brk" else f"error={errno}"
    return "-e", f"trace={','.join(filter(None, (call, until)))}", "-e", f"inject={call}:{how}:when={when}"
