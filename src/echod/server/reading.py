"""The child that reads for a reload: the file, and the addresses of the names in `listen`.

It keeps the daemon from waiting for a resolver or a user database. It has LOOKUP_S seconds, and then SIGALRM ends it.
"""

from __future__ import annotations

from echod.common.cmodules import os, signal
from echod.common.config import settings
from echod.common.config.addresses import write_address
from echod.common.config.file import read, read_overrides
from echod.common.config.settings import SETTINGS, Config
from echod.common.errors import DONE, FAILED, ConfigError, EchodError, end_of
from echod.common.items import Items, read_items, write_items
from echod.common.machine import nameless_file
from echod.common.signals_table import HANDLED
from echod.common.sockets import look_up
from echod.server.failures import Step, attempt, reason
from echod.server.process import highest_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from echod.common.launch import Launch
    from echod.common.sockets import Place
    from echod.log.log import Log

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
