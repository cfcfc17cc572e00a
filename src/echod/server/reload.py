"""A reload (TLPI 37.4): everything new is made next to the old, and applied as a whole or not at all.

    SIGHUP ──▶ `Reader.begin`: a child reads the file and asks the resolver ──▶ it is reaped ──▶ `prepare` ──▶ applied

The child keeps the daemon from waiting for a resolver or a user database. It has LOOKUP_S seconds, and then SIGALRM
ends it. `prepare` makes a Change and may fail; `Server.apply` applies it and cannot.
"""

from __future__ import annotations

from echod.common.bind_errors import BindError
from echod.common.cmodules import os, signal
from echod.common.config import settings
from echod.common.config.addresses import write_address
from echod.common.config.file import read, read_overrides
from echod.common.config.settings import NEW_CLIENTS, RESTART, SETTINGS, Config
from echod.common.errors import DONE, FAILED, ConfigError, EchodError, end_of
from echod.common.items import Items, read_items, write_items
from echod.common.machine import nameless_file
from echod.common.signals_table import HANDLED
from echod.common.sockets import LACKS, Listener, bind, ignore, look_up, open_shared, refuse_overlap
from echod.log.sinks import open_log
from echod.server.board import reserve
from echod.server.failures import Step, attempt, reason
from echod.server.process import highest_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from echod.common.config.addresses import Address
    from echod.common.launch import Launch
    from echod.common.sockets import Place
    from echod.log.log import Log
    from echod.log.sinks import Sink
    from echod.server.board import Board

LOOKUP_S = 5.0  # for the resolver


def write_place(place: Place) -> str:
    """Return a place as text."""
    family, where = place
    return f"{int(family)} {' '.join(map(str, where))}"


def read_place(text: str) -> Place:
    """Read what `write_place` returned. Raises ValueError."""
    family, host, *numbers = text.split(" ")
    return int(family), (host, *map(int, numbers))


class Reading(Items):
    """What the child has read: the settings and the places of their hosts, or why the reload fails. Never changed."""

    code: int = DONE
    why: str = ""
    settings: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()  # of the places of each address of `listen`
    places: tuple[Place, ...] = ()

    LISTS = {  # noqa: RUF012 - never changed
        "settings": ("setting", str, str),
        "counts": ("count", str, int),
        "places": ("place", write_place, read_place),
    }


class Change:
    """What a reload applies, and `text`: a line for each setting that differs."""

    def __init__(self, config: Config, listeners: list[Listener], sink: Sink, text: list[str]) -> None:
        self.config = config
        self.listeners = listeners
        self.sink = sink
        self.text = text


class Reader:
    """The child that reads for a reload: its `pid`, or 0; `again` if another reload was asked for meanwhile."""

    def __init__(self, launch: Launch, log: Log) -> None:
        self.pid, self.again = 0, False
        self._launch, self._log, self._fd = launch, log, -1

    def begin(self, old: Config) -> None:
        """Fork the child. Raises EchodError; then nothing is left of it."""
        with Step("reload"):
            self._fd = nameless_file("reload")
            signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)  # or a signal would be the child's and be lost
            try:
                self.pid = os.fork()
                if self.pid == 0:
                    self._be_the_child(old)
            finally:
                if self.pid == 0:
                    os.close(self._fd)
                attempt(self._log, "sigprocmask", signal.pthread_sigmask, signal.SIG_UNBLOCK, HANDLED)

    def _be_the_child(self, old: Config) -> None:
        """Read, write what was read, and exit. The daemon's sockets are closed: a daemon that is killed keeps none."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, LOOKUP_S)
            os.closerange(3, self._fd)
            os.closerange(self._fd + 1, highest_fd() + 1)
            look(self._launch, old, lambda reading: write_items(self._fd, reading.to_items()))
        finally:
            os._exit(0)  # noqa: SLF001

    def take(self, others: dict[int, int]) -> Reading | None:
        """Return what the child has read if it is among the exited processes: `others` has their wait statuses."""
        if self.pid not in others:
            return None
        status, self.pid = others[self.pid], 0
        try:
            return Reading.from_items(read_items(self._fd))
        except (OSError, MemoryError, ValueError) as error:
            why = f"the child that reads the settings has failed: {reason(error)}; {end_of(status)}"
            return Reading(code=FAILED, why=why)
        finally:
            attempt(self._log, "close", os.close, self._fd)

    def kill(self) -> None:
        """End the child, if there is one."""
        if self.pid:
            attempt(self._log, "kill", os.kill, self.pid, signal.SIGKILL)


def look(launch: Launch, old: Config, write: Callable[[Reading], None]) -> None:
    """Read the settings, and look up all names in them; `write` what was read, or why the reload fails.

    Before each step that may take too long, what is to be said in that case is written.
    """
    try:
        with Step("reload"):
            write(Reading(code=FAILED, why=f"the settings were not read in {LOOKUP_S:g} s"))
            asked = settings.load(launch.config_file, launch.overrides, launch.base, log=launch.log)
            refuse_for_start(launch, old, asked)
            places: list[list[Place]] = []
            for address in asked.listen:
                if address[0] != "*":
                    late = f"cannot listen on {write_address(address)}: no answer from the resolver in {LOOKUP_S:g} s"
                    write(Reading(code=FAILED, why=late))
                places.append([] if address[0] == "*" else look_up(address))
    except EchodError as error:
        write(Reading(code=error.code, why=str(error)))
        return
    write(
        Reading(
            settings=tuple(f"{name}={asked.text(name)}" for name in SETTINGS),
            counts=tuple(map(len, places)),
            places=tuple(place for found in places for place in found),
        )
    )


def refuse_for_start(launch: Launch, old: Config, asked: Config) -> None:
    """Raise ConfigError for a changed value on which the next start would fail."""
    origins = {
        name: where
        for lines in (read(launch.config_file), read_overrides(launch.overrides))
        for where, name, _ in lines
    }
    for name, why in refused(launch, asked):
        if getattr(old, name) != getattr(asked, name):
            raise ConfigError(f"{origins.get(name, name)}: {name}: {why}")


def refused(launch: Launch, asked: Config) -> Iterator[tuple[str, str]]:
    """Yield the settings that a start refuses, and why. The databases of users may be slow, as a resolver may."""
    import grp  # noqa: PLC0415 - in the child alone
    import pwd  # noqa: PLC0415

    for name, value, find in (("user", asked.user, pwd.getpwnam), ("group", asked.group, grp.getgrnam)):
        try:
            if value and not value.isdecimal():
                find(value)
        except KeyError:
            yield name, f"there is no {name} '{value}'; allowed: one that exists, by name or number"
    try:
        os.stat(asked.directory)
        os.stat(f"{asked.directory}/.")
    except PermissionError:  # root, which starts it, may change to it
        pass
    except OSError as error:
        yield "directory", f"{asked.directory}: {error.strerror}"
    if asked.log == "stderr" != launch.log:
        yield "log", "'stderr' is for `echod run`; allowed: syslog, none, or a path"


def prepare(
    reading: Reading, launch: Launch, old: Config, listeners: list[Listener], sink: Sink, board: Board
) -> Change:
    """Make what was read. Raises EchodError; then nothing has changed."""
    if reading.code != DONE:
        raise EchodError(reading.why, reading.code)
    with Step("reload") as step:
        asked = settings.load("/dev/null", reading.settings, "/", log=launch.log, newlines=True)
        passed = any(listener.address is None for listener in listeners)
        fixed = {name for name, row in SETTINGS.items() if row.effect == RESTART} | ({"listen"} if passed else set())
        new = Config(vars(asked) | {name: getattr(old, name) for name in fixed})
        text = differences(old, asked, fixed)
        if (new.log, new.syslog_facility) != (old.log, old.syslog_facility):
            sink = open_log(new.log, new.syslog_facility)
            step.opened(sink)
        kept = listeners if passed else rebind(listeners, new, found_places(reading, new), step, text.append)
        names = [listener.name for listener in kept]
        reserve(board, launch, new.max_children, *text, *names, *map(write_address, new.listen))
        return Change(new, kept, sink, text)


def differences(old: Config, asked: Config, fixed: set[str]) -> list[str]:
    """Return a line for each setting that differs; those in `fixed` need a restart."""
    return [
        f"{name}: {old.text(name) or 'empty'} -> {asked.text(name) or 'empty'}{when(name, fixed)}"
        for name in SETTINGS
        if getattr(old, name) != getattr(asked, name)
    ]


def move(new: Config, listeners: list[Listener], sink: Sink) -> Change:
    """Make what an upgrade changes: the listeners, all at numeric addresses. Raises EchodError, and nothing changed."""
    with Step("listen") as step:
        return Change(new, rebind(listeners, new, {}, step), sink, [])


def found_places(reading: Reading, new: Config) -> dict[Address, list[Place]]:
    """Return the places of each address of `listen`; none for `*`."""
    rest = list(reading.places)
    found = {}
    for address, count in zip(new.listen, reading.counts, strict=True):
        found[address], rest = rest[:count], rest[count:]
    return found


def when(name: str, fixed: set[str]) -> str:
    """Return when a changed setting takes effect, unless that is now."""
    if name in fixed:
        return " (needs a restart)"
    return f" ({NEW_CLIENTS})" if SETTINGS[name].effect == NEW_CLIENTS else ""


def unshare(listener: Listener) -> OSError | None:
    """Let nobody share its port any more; returns the error when that fails."""
    try:
        listener.share(False)
    except OSError as error:
        return error
    return None


def rebind(
    listeners: list[Listener],
    new: Config,
    places: dict[Address, list[Place]],
    step: Step,
    warn: Callable[[str], None] = ignore,
) -> list[Listener]:
    """Return listeners for all that `new` asks for: the current ones, and new ones. Raises BindError or OSError.

    A new address may overlap an old one, `*:7` and `127.0.0.1:7`: while they are bound all share the port. For that
    moment only, or a second daemon could be started on the same port unnoticed.
    """
    kept, missing = [], {}
    for address in new.listen:
        bound = [one for one in listeners if one.address == address]
        wanted = places.get(address, [])
        here = [one for one in bound if not wanted or any(is_at(one, place) for place in wanted)]
        kept += here
        missing[address] = [place for place in wanted if not any(is_at(one, place) for one in here)]
        if here and not missing[address]:
            del missing[address]
    added: list[Listener] = []
    if missing:
        try:
            for listener in listeners:
                listener.share(True)
            for address, where in missing.items():
                try:
                    found = bind(address, new, open_shared, where or None, warn=warn)
                except BindError as error:
                    if error.error.errno in LACKS and any(one.address == address for one in kept):
                        continue  # the machine lacks this address of the name; the others stay
                    raise
                step.opened(*found)
                added += found
        finally:
            failed = [left for listener in listeners + added if (left := unshare(listener))]
        if failed:
            raise failed[0]
    refuse_overlap(kept + added)
    return kept + added


def is_at(listener: Listener, place: Place) -> bool:
    """Return True if a listener is where it would be bound; port 0 is any."""
    family, (host, port, *scope) = listener.place
    asked, (there, number, *link) = place
    return (family, host, scope) == (asked, there, link) and number in (0, port)
