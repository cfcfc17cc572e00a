"""The server's image, from its first instruction to its last: take over what the launcher opened, serve, clean up."""

from __future__ import annotations

import errno
import gc
import sys

from echod import __version__
from echod.common.cmodules import environ, os, signal
from echod.common.config.addresses import write_address
from echod.common.errors import DONE, FAILED, EchodError, from_os_error, place_of
from echod.common.journal import mark
from echod.common.launch import Launch
from echod.common.scoreboard import LOG_LINES_LOST, RUNNING, UPGRADES_BEGUN
from echod.common.sockets import Listener, adopt
from echod.common.succession import Succession
from echod.log.log import ERROR, Log
from echod.log.sinks import Sink, Stderr, Syslog, open_log
from echod.server import process, successor
from echod.server.board import Board, reserve
from echod.server.failures import report
from echod.server.manager import Manager
from echod.server.process import OomScore
from echod.server.reload import Change, move
from echod.server.server import Server
from echod.server.upgrade import ON_TRIAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.common.config.settings import Config


def main(args: list[str]) -> int:
    """Run the server; returns its exit code. Whoever started it has been told why, should it fail to start."""
    launch = Launch.from_items(args)
    if args[:1] == [ON_TRIAL]:
        return successor.trial(launch, args)
    manager = Manager(launch.ready_fd)
    is_daemon = launch.log != "stderr"  # not `run`
    before: Succession | None = Succession(version="?")  # until it has been read
    try:
        before = Succession.take(args)
        server = prepare(launch, before, manager)
        if is_daemon:
            os.dup2(0, 2)  # /dev/null, in place of what `start` reads when the server does not get this far
    except EchodError as error:
        return fail(manager, error, before)
    except OSError as error:
        return fail(manager, from_os_error("cannot start", error), before)
    except Exception as error:
        if not before:  # `start` reads the traceback
            raise
        return fail(manager, EchodError(crash(error)), before)
    try:
        manager.ready(f"serving on {server.names()}")
    except OSError:
        if is_daemon:  # `start` was interrupted, and has removed its files while this held the lock
            remove_files(launch)
            return FAILED
    return serve(server, launch)


def prepare(launch: Launch, before: Succession | None, manager: Manager) -> Server:
    """Adopt, map and open what a server needs, the log as the daemon's user. Raises EchodError, OSError."""
    asked = successor.load(launch, before)
    launch = launch.replace(settings_fd=-1)
    config = successor.keep_addresses(asked, launch) if before else asked
    listeners = take_sockets(launch, before)
    board, oom = Board(launch.board_fd, before), OomScore(before.oom_fd if before else -1)
    process.set_name()
    if launch.gid >= 0 and not before and not os.geteuid():  # else the launcher could do so before it executed this
        process.drop_privileges(launch.uid, launch.gid, listeners)
    oom.check()
    texts = [*(listener.name for listener in listeners), *map(write_address, config.listen), *launch.overrides]
    reserve(board, launch, config.max_children, launch.config_file, *texts)
    Sink.never = tuple((found.st_dev, found.st_ino) for found in map(os.fstat, (launch.pid_fd, launch.board_fd)))
    Sink.total = board.words[LOG_LINES_LOST : LOG_LINES_LOST + 1]
    log = Log(config, open_log(config.log, config.syslog_facility))
    first = Change(config, listeners, log.sink, [])
    server = Server(launch, before or Succession(), first, log, board, manager=manager, oom=oom)
    server.set_state(RUNNING)  # first: whoever is told that it is ready may ask for its state at once
    if before:
        resume(server, before, asked)
    gc.disable()  # the server makes no cycles; a collection would write to every object
    return server


def resume(server: Server, before: Succession, asked: Config) -> None:
    """Log that this version serves, listen where `asked` says, and answer. The addresses are numbers: no resolver."""
    server.log.sink.lost = before.lost
    server.log.info(f"upgrade version={__version__} from={before.version} clients={len(server.children.table)}")
    changes = list(before.changes)
    if set(server.config.listen) != set(asked.listen):
        try:
            server.apply(move(asked, server.acceptor.all(), server.log.sink))
        except EchodError as error:
            server.log.error(f"error call=bind why={str(error)!r}")
            changes.append(f"listen: {error}; the previous addresses stay in effect")
    server.answer(UPGRADES_BEGUN, DONE, upgrade="ok", upgraded=changes)
    if before.again:
        server.signals.pending.add(signal.SIGUSR2)


def take_sockets(launch: Launch, before: Succession | None = None) -> list[Listener]:
    """Adopt the sockets that LISTEN_FDS announces. Raises EchodError when there are none for us."""
    if environ.get(b"LISTEN_PID") != b"%d" % os.getpid():
        raise EchodError("LISTEN_PID is not this process: no sockets were passed")
    return adopt(launch.addresses, before.sockets if before else ())


def fail(manager: Manager, error: EchodError, before: Succession | None = None) -> int:
    """Say why the server did not start: to the launcher, and on stderr for those in the foreground.

    After an upgrade nobody reads these: `before` is what the previous version has handed over, with the log's setting.
    """
    manager.failed(error.code, str(error))
    print(f"{mark(ERROR)}echod: {error}", file=sys.stderr)
    if before:
        log_last(f"error call=upgrade why={str(error)!r}", lambda: successor.open_its_log(before))
    return error.code


def log_last(text: str, open_sink: Callable[[], Sink]) -> None:
    """Log why the server ends: in its log, in syslog if that takes no line, or else on stderr."""
    for make in (open_sink, lambda: Syslog("daemon"), Stderr):
        try:
            if make().write(ERROR, text):
                return
        except (EchodError, OSError, ValueError):  # the next one
            continue


def serve(server: Server, launch: Launch) -> int:
    """Run the loop to its end; then leave no pid file that would look like a crash."""
    try:
        server.run()
    except Exception as error:  # noqa: BLE001 - a daemon has no stderr: a bug must reach a log
        report_crash(server.log, error)
        return FAILED
    server.log.flush(float("inf"))
    server.log.info("stopped")
    remove_files(launch, server.log)
    return 0


def report_crash(log: Log, error: Exception) -> None:
    """Say where the server has failed: in its log, in syslog where that takes no line, and on stderr."""
    log_last(crash(error), lambda: log.sink)


def crash(error: Exception) -> str:
    """Return the line of the log for a bug in the server."""
    return f"crash what={type(error).__name__} why={str(error)!r} at={place_of(error)}"


def remove_files(launch: Launch, log: Log | None = None) -> None:
    """Remove pid file and scoreboard, unless another's have taken their place.

    Where the daemon's user may not remove them, an empty pid file says a clean end.
    """
    for path, fd in ((launch.board_file, launch.board_fd), (launch.pid_file, launch.pid_fd)):
        try:
            found, own = os.lstat(path), os.fstat(fd)
            if (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino):
                os.unlink(path)
        except OSError as error:
            if log and error.errno not in (errno.EACCES, errno.EPERM, errno.ENOENT):
                report(log, "unlink", error)
    try:
        os.ftruncate(launch.pid_fd, 0)
    except OSError:
        return  # then it looks like a crash, which `start` does not mind
