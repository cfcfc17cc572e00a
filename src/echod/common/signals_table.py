"""The one table of signals: what the daemon does on each, and their names. The manual has the same table."""

from __future__ import annotations

from echod.common.cmodules import signal

# What the daemon does on each signal that it handles; Server.process_signals does it.
HANDLED = {
    signal.SIGTERM: "drain, then exit; a second one: at once",
    signal.SIGQUIT: "as SIGTERM",
    signal.SIGINT: "end the children and exit, at once",
    signal.SIGHUP: "read the config again",
    signal.SIGUSR1: "open the log file again",
    signal.SIGUSR2: "upgrade: execute the installed version",
    signal.SIGCHLD: "reap",
}
# Left at their default action: the kernel's reports of a fault or a limit, and what stops and continues a process.
DEFAULT = {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT, signal.SIGSEGV,
    signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS, signal.SIGXCPU,
}  # fmt: skip
# The C library keeps these for itself: no program can handle, ignore or block them, and they end it. With musl, 34 too.
RESERVED = range(32, signal.SIGRTMIN)
HIGHEST = 64  # the signal with the highest number (signal(7))
SYNONYMS = ("SIGCLD", "SIGIOT", "SIGPOLL")  # of SIGCHLD, SIGABRT, SIGIO (signal(7))


def signal_name(signum: int) -> str:
    """Return SIGTERM for 15."""
    for word, number in vars(signal).items():
        if number == signum and word.startswith("SIG") and word[3] != "_" and word not in SYNONYMS:
            return word
    return str(signum)
