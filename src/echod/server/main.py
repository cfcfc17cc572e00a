"""The server's image, from its first instruction to its last: take over what the launcher opened, serve, clean up."""

from __future__ import annotations

import gc
import sys

from echod.common.cmodules import environ, os
from echod.common.config import settings as config
from echod.common.errors import FAILED, EchodError, from_os_error
from echod.common.handover import Handover
from echod.common.scoreboard import Scoreboard
from echod.common.sockets import Listener, adopt
from echod.server.log import sinks
from echod.server.log.log import Log
from echod.server.notify import Notify
from echod.server.reload import names, open_log
from echod.server.server import Server


def main(words: list[str]) -> int:
    """Run the server; returns its exit code. Whoever started it has been told why, should it fail to start."""
    handover = Handover.from_words(words)
    notify = Notify(handover.ready_fd)
    try:
        server = prepare(handover, notify)
        if handover.log != "stderr":
            os.dup2(0, 2)  # /dev/null, in place of what `start` reads when the server does not get this far
        notify.ready(f"serving on {names(server)}")
    except BrokenPipeError:  # `start` was interrupted, and has tidied up while this held the lock: nothing half-done
        remove(handover)
        return FAILED
    except EchodError as error:
        return fail(notify, error)
    except OSError as error:
        return fail(notify, from_os_error("cannot start", error))
    return serve(server, handover)


def prepare(handover: Handover, notify: Notify) -> Server:
    """Adopt, open and map what a server needs; give up root last, when nothing is left to import or open."""
    settings = config.load(handover.config_file, handover.overrides, handover.base, log=handover.log)
    listeners = take_sockets(handover)
    for listener in listeners:
        listener.tune(settings)
    log = Log(settings, open_log(settings))
    server = Server(handover, settings, listeners, Scoreboard(handover.board_fd), log, notify)
    set_name()
    if handover.uid >= 0:
        give_up_root(handover.uid, handover.gid, listeners, log)
    gc.disable()  # the server makes no cycles, and a collection in a child would copy every page it marks
    return server


def set_name() -> None:
    """Have ps, top and pgrep say echod. Before root is given up: the file is root's after that (proc(5))."""
    try:
        fd = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return  # no /proc: the name is a courtesy
    os.write(fd, b"echod")
    os.close(fd)


def take_sockets(handover: Handover) -> list[Listener]:
    """Adopt the sockets that LISTEN_FDS announces. Raises EchodError when there are none for us."""
    if environ.get(b"LISTEN_PID") != b"%d" % os.getpid():
        raise EchodError("LISTEN_PID is not this process: no sockets were passed")
    return adopt(handover.addresses)


def give_up_root(uid: int, gid: int, listeners: list[Listener], log: Log) -> None:
    """Become the user and the group, for good, without supplementary groups. Raises OSError."""
    for listener in listeners:
        os.fchown(listener.fd, uid, gid)  # a socket has an owner, too: a reload's new ones must have the same
    if isinstance(log.sink, sinks.File):
        os.fchown(log.sink.fd, uid, gid)  # or it could not be opened again after rotation
    os.setgroups([gid])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def fail(notify: Notify, error: EchodError) -> int:
    """Say why the server did not start: to the launcher, and on stderr for those in the foreground."""
    notify.failed(error.code, str(error))
    print(f"echod: {error}", file=sys.stderr)
    return error.code


def serve(server: Server, handover: Handover) -> int:
    """Run the loop to its end; then leave no pid file that would look like a crash."""
    try:
        server.run()
    except Exception as error:  # noqa: BLE001 - a daemon has no stderr: a bug must reach its log
        trace, where = error.__traceback__, ""
        while trace:
            where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
            trace = trace.tb_next
        server.log.error(f"crash what={type(error).__name__} why={str(error)!r} at={where}")
        return FAILED
    server.log.info("stopped")
    remove(handover)
    return 0


def remove(handover: Handover) -> None:
    """Remove pid file and scoreboard; where the daemon's user may not, an empty pid file says a clean end."""
    for path in (handover.pid_file, handover.board_file):
        try:
            os.unlink(path)
        except OSError:
            if path == handover.pid_file and handover.pid_fd >= 0:
                os.ftruncate(handover.pid_fd, 0)
