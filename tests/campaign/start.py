"""The scene in which a call of the server's image fails from its first instruction to the moment that it accepts."""

from __future__ import annotations

import psutil

from campaign import ptrace
from campaign.client import Client, WrongError
from campaign.commands import command, run_traced
from campaign.target import PORT, until

NAME = "start"
CODES = (1, 4, 6)


def observe(target):
    """Count the calls of the server's image up to its readiness, and that it begins to wait for clients."""
    trace = begin(target)
    done = run_traced(target, ["-o", trace], "start")
    if done.returncode != 0:
        raise WrongError(f"start exits with {done.returncode}: {done.stdout}{done.stderr}")
    target.begun()
    target.await_clients(0)
    counts = ptrace.calls(trace, signals=False)  # the one byte that is written is 'ready'
    target.end()
    return counts


def begin(target):
    """Have no daemon, and return where a trace goes."""
    target.end()
    target.renew()
    return target.home / "trace"


def play(target, case):
    """Start with a call that fails: the daemon serves, or has failed in order. Raises WrongError."""
    trace = begin(target)
    try:
        done = run_traced(target, ["-o", trace, *ptrace.failing(case.call, case.errno, case.when)], "start")
        if done.returncode == 0:
            target.begun()
            serve(target)
        else:
            failed(target, done)
        hit = ptrace.injected(trace)
    finally:
        target.end()
    if not hit:
        return "not reached"
    return "serves" if done.returncode == 0 else "failed in order"


def serve(target):
    """See that it serves and ends as any other."""
    try:
        client = Client((target.host(1), PORT)).echo(100).finish()
    except ConnectionRefusedError:
        target.alive()
        raise
    if client.outcome != "served":
        raise WrongError(f"a client after it is {client.outcome}")
    target.await_clients(0)
    if target.crash():
        raise WrongError(target.crash())
    target.echod.run("stop", check=0)
    if (outcome := target.ended()) != "exit code 0":
        raise WrongError(f"{outcome}; {target.crash()}")


def failed(target, done):
    """See that a start that failed says why in one line, and leaves nothing."""
    if done.returncode not in CODES or len(done.stderr.splitlines()) != 1 or "Traceback" in done.stderr:
        raise WrongError(f"start exits with {done.returncode}: {done.stdout}{done.stderr}")
    until(lambda: not running(), "the server that failed to end")
    left = {path.name for path in target.home.iterdir()} - {"echod.conf", "echod.log", "trace"}
    if "echod.pid" in left and target.echod.pid_file.read_text():
        raise WrongError(f"a failed start ({done.stderr.strip()}) leaves {', '.join(sorted(left))}")
    if (code := command(target.echod, "status").returncode) != 3:
        raise WrongError(f"status exits with {code} after a start that failed")


def running():
    """Return the processes of a start that is not over, strace's among them."""
    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
