"""A reload (TLPI 37.4): everything new is made next to the old, and applied as a whole or not at all.

    SIGHUP ──▶ `Reader.begin`: a child reads the file and asks the resolver ──▶ it is reaped ──▶ `prepare` ──▶ applied

`prepare` makes a Change and may fail; `Server.apply` applies it and cannot.
"""

from __future__ import annotations

from echod.common.bind_errors import BindError
from echod.common.config import settings
from echod.common.config.addresses import write_address
from echod.common.config.settings import NEW_CLIENTS, RESTART, SETTINGS, Config
from echod.common.errors import DONE, EchodError
from echod.common.sockets import LACKS, Listener, bind, ignore, open_shared, refuse_overlap
from echod.log.sinks import open_log
from echod.server.board import reserve
from echod.server.failures import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from echod.common.config.addresses import Address
    from echod.common.launch import Launch
    from echod.common.sockets import Place
    from echod.log.sinks import Sink
    from echod.server.board import Board
    from echod.server.reading import Reading


class Change:
    """What a reload applies, and `text`: a line for each setting that differs."""

    def __init__(self, config: Config, listeners: list[Listener], sink: Sink, text: list[str]) -> None:
        self.config = config
        self.listeners = listeners
        self.sink = sink
        self.text = text


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
                found = bind_more(address, where, new, kept, warn)
                step.opened(*found)
                added += found
        finally:
            failed = [left for listener in listeners + added if (left := unshare(listener))]
        if failed:
            raise failed[0]
    refuse_overlap(kept + added)
    return kept + added


def bind_more(
    address: Address, where: list[Place], new: Config, kept: list[Listener], warn: Callable[[str], None]
) -> list[Listener]:
    """Bind an address at more places, or none if the machine lacks them and has others. Raises BindError."""
    try:
        return bind(address, new, open_shared, where or None, warn=warn)
    except BindError as error:
        if error.error.errno in LACKS and any(one.address == address for one in kept):
            return []
        raise


def is_at(listener: Listener, place: Place) -> bool:
    """Return True if a listener is where it would be bound; port 0 is any."""
    family, (host, port, *scope) = listener.place
    asked, (there, number, *link) = place
    return (family, host, scope) == (asked, there, link) and number in (0, port)
