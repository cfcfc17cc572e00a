"""Why a session ended, as the exit status of its process and as the word in the log; the names of signals."""

from __future__ import annotations

import errno

from echod.common.cmodules import os, signal

EOF, CRASHED, RESET, IDLE, LIFETIME, DRAIN, PROXY, ACCESS = range(8)
ERRNO = 64  # ERRNO + n is the error n
REASONS = ("eof", "error=CRASHED", "reset", "idle", "lifetime", "drain", "proxy", "access")
REFUSED = REASONS[PROXY:]  # by its child, unserved
NETWORK = ("error=ETIMEDOUT", "error=EHOSTUNREACH", "error=ENETUNREACH", "error=ENETDOWN", "error=EHOSTDOWN")
SYNONYMS = ("SIGCLD", "SIGIOT", "SIGPOLL")  # of SIGCHLD, SIGABRT, SIGIO (signal(7))


def reason_of(status: int) -> str:
    """Tell from a wait status (waitpid(2)) how a session ended."""
    if os.WIFSIGNALED(status):
        return f"signal={signal_name(os.WTERMSIG(status))}"
    code = os.WEXITSTATUS(status)
    if code < len(REASONS):
        return REASONS[code]
    return f"error={errno.errorcode.get(code - ERRNO, code - ERRNO)}"


def is_fault(reason: str) -> bool:
    """Tell whether a signal or an error of ours has ended a session, and not its client or the network."""
    return reason.startswith(("signal=", "error=")) and reason not in NETWORK


def signal_name(signum: int) -> str:
    """Return SIGTERM for 15."""
    for word, number in vars(signal).items():
        if number == signum and word.startswith("SIG") and word[3] != "_" and word not in SYNONYMS:
            return word
    return str(signum)
