"""The one table of reasons: why a session ended, as the exit status of its process and as the word in the log."""

from __future__ import annotations

import errno

from echod.common.cmodules import os
from echod.common.signals_table import signal_name

EOF, CRASHED, RESET, IDLE, LIFETIME, DRAIN, PROXY, ACCESS = range(8)
ERRNO = 64  # ERRNO + n is the error n
REASONS = ("eof", "error=CRASHED", "reset", "idle", "lifetime", "drain", "proxy", "access")
REFUSED = REASONS[PROXY:]  # by its child, unserved
OVER_LIMIT, PER_SOURCE, NOT_ALLOWED, FORK_FAILED = "over_limit", "per_source", REASONS[ACCESS], "fork_failed"
REFUSALS = OVER_LIMIT, PER_SOURCE, NOT_ALLOWED, REASONS[PROXY], FORK_FAILED  # by the daemon or by a child
NETWORK = ("error=ETIMEDOUT", "error=EHOSTUNREACH", "error=ENETUNREACH", "error=ENETDOWN", "error=EHOSTDOWN")


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
