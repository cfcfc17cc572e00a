"""The commands: each takes the words of the command line and returns its exit code. Raises EchodError or OSError."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING

from echod.cli import launch
from echod.cli.daemon import Daemon
from echod.cli.paths import Place
from echod.cli.pidfile import PidFile
from echod.cli.status import snapshot as report
from echod.common import scoreboard
from echod.common.config.file import DEFAULT_PATH
from echod.common.config.settings import SETTINGS
from echod.common.errors import DONE, NOT_RUNNING, EchodError
from echod.common.sockets import SD_LISTEN_FDS_START

if TYPE_CHECKING:
    from argparse import Namespace

RUNNING, DEAD, STOPPED, CANNOT_TELL = 0, 1, 3, 4  # what `status` exits with (LSB)
DRAIN = 10.0  # seconds, the default of drain_timeout
SPARE = 5.0  # seconds that `stop` waits beyond drain_timeout
HIGHEST_FD = 0x7FFFFFFF


def place(words: Namespace) -> Place:
    """Return where config and pid file are."""
    return Place(words.config, words.options)


def start(words: Namespace) -> int:
    """Become a daemon and serve."""
    os.closerange(3, HIGHEST_FD)  # all that we inherited, whatever the limit on their number is now
    here = place(words)
    config = here.load()
    pid_file = PidFile(here.pid_file)
    try:
        with pid_file.start():
            pid = pid_file.holder()
            if pid:
                print(f"echod: already running, pid {pid}")
                return DONE
            launch.start(config, here.handover(), pid_file)
    except BaseException:
        here.tidy()
        raise
    return DONE


def run(words: Namespace) -> int:
    """Serve in the foreground."""
    passed = launch.passed_sockets()
    os.closerange(SD_LISTEN_FDS_START + passed, HIGHEST_FD)
    here = place(words)
    config = here.load(log="stderr")
    pid_file = PidFile(here.pid_file, lowest_fd=SD_LISTEN_FDS_START + passed + 4 * len(config.listen))
    try:
        with pid_file.start():
            pid = pid_file.holder()
            if pid:
                raise EchodError(f"already running, pid {pid}; stop it first, or use another pid_file")
            launch.run(config, here.handover(log="stderr"), pid_file, passed)
    except BaseException:
        here.tidy()
        raise


def stop(words: Namespace) -> int:
    """End the daemon in order."""
    here = place(words)
    daemon = Daemon.find(PidFile(here.pid_file))
    if daemon is None:
        here.tidy()
        print("echod: not running")
        return DONE
    with daemon:
        timeout = patience(daemon) if words.timeout is None else words.timeout
        daemon.send(signal.SIGTERM)
        if not daemon.wait(timeout):
            if not words.force:
                raise EchodError(
                    f"process {daemon.pid} is still there after {timeout:g} s; `echod stop --force` ends it"
                )
            daemon.kill()
            daemon.wait(None)
    here.tidy()
    return DONE


def patience(daemon: Daemon) -> float | None:
    """Return how many seconds `stop` waits for a daemon to end, None when its drain is unlimited."""
    try:
        drain = daemon.board().words[scoreboard.DRAIN_MS]
    except EchodError:
        return DRAIN + SPARE  # it is only just starting, or somebody has removed the scoreboard: stop it all the same
    return None if drain == scoreboard.NEVER else drain / 1000 + SPARE


def restart(words: Namespace) -> int:
    """Stop, then start; what can be checked before is, so that a broken config stops nothing."""
    here = place(words)
    launch.identify(here.load(), here.handover())
    stop(words)
    return start(words)


def reload(words: Namespace) -> int:
    """Have the daemon read its config again, and say what changed."""
    here = place(words)
    here.load()
    with running(here) as daemon:
        theirs, ours = daemon.board().texts().get("config_file", ""), here.config_file or DEFAULT_PATH
        if os.path.realpath(theirs) != os.path.realpath(ours):
            raise EchodError(f"process {daemon.pid} was started with {theirs} and cannot change to {ours}; use restart")
        code, texts = daemon.reload()
    if code != DONE:
        raise EchodError(f"{texts['last_reload']}; the old settings are still in force", code)
    print("\n".join(filter(None, texts["changes"].split("\t"))) or "echod: reloaded, nothing changed")
    return DONE


def reopen(words: Namespace) -> int:
    """Have the daemon open its log file again."""
    with running(place(words)) as daemon:
        code, texts = daemon.reopen()
    if code != DONE:
        raise EchodError(f"{texts['reopen']}; the old file is still in use", code)
    return DONE


def running(here: Place) -> Daemon:
    """Return the running daemon. Raises EchodError when there is none."""
    daemon = Daemon.find(PidFile(here.pid_file))
    if daemon is None:
        raise EchodError(f"not running (no process holds {here.pid_file}); `echod start` starts it", NOT_RUNNING)
    return daemon


def status(words: Namespace) -> int:
    """Print what the daemon is doing."""
    here = place(words)
    try:
        daemon = Daemon.find(PidFile(here.pid_file))
        if daemon is None:
            left = os.path.exists(here.pid_file) and os.path.getsize(here.pid_file) > 0
            print('{"state": "stopped"}' if words.json else not_running(here, left=left))
            return DEAD if left else STOPPED
        with daemon:
            state = report.snapshot(daemon.board())
    except (EchodError, OSError) as error:
        print(f"echod: {error}", file=sys.stderr)
        return CANNOT_TELL
    print(json.dumps(state) if words.json else report.for_people(state))
    return RUNNING


def not_running(here: Place, *, left: bool) -> str:
    """Return what `status` tells people when nothing runs."""
    if left:
        return f"echod: dead: it was killed or crashed, and has left {here.pid_file}; `echod start` starts it again"
    return "echod: not running"


def check(words: Namespace) -> int:
    """Print the settings that would be in force."""
    here = place(words)
    config = here.load()
    launch.identify(config, here.handover())
    shown = {"pid_file": here.pid_file}
    for name in SETTINGS:
        print(f"{name} = {shown.get(name, config.text(name))}".rstrip())
    return DONE


def inetd(words: Namespace) -> int:
    """Serve the connected socket on descriptor 0."""
    from echod.cli import inetd as superserver  # noqa: PLC0415 - one process a client: it loads what it needs

    return superserver.serve(place(words).load())
