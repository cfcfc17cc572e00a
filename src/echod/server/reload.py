"""A reload (TLPI 37.4) as a value: everything new is made beside the old, and put in force as a whole or not at all.

`prepare` makes a Change and may fail; `Server.apply` puts it in force and cannot.
"""

from __future__ import annotations

from echod.common.config import settings
from echod.common.config.settings import NEW_CLIENTS, RESTART, SETTINGS, Config
from echod.common.sockets import Listener, bind_all, open_shared, refuse_overlap
from echod.log.sinks import open_log
from echod.server.failures import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.common.launch import Launch
    from echod.log.sinks import Sink
    from echod.server.board import Board


class Change:
    """What a reload applies, and `text`: a line for each setting that differs."""

    def __init__(self, config: Config, listeners: list[Listener], sink: Sink, text: list[str]) -> None:
        self.config = config
        self.listeners = listeners
        self.sink = sink
        self.text = text


def prepare(launch: Launch, old: Config, listeners: list[Listener], sink: Sink, board: Board) -> Change:
    """Read the config again and make what it asks for. Raises EchodError; then nothing has changed."""
    with Step("reload") as step:
        asked = settings.load(launch.config_file, launch.overrides, launch.base, log=launch.log)
        passed = any(listener.address is None for listener in listeners)
        fixed = {name for name, row in SETTINGS.items() if row.effect == RESTART} | ({"listen"} if passed else set())
        new = Config(vars(asked) | {name: getattr(old, name) for name in fixed})
        text = [
            f"{name}: {old.text(name) or 'empty'} -> {asked.text(name) or 'empty'}{when(name, fixed)}"
            for name in SETTINGS
            if getattr(old, name) != getattr(asked, name)
        ]
        if (new.log, new.syslog_facility) != (old.log, old.syslog_facility):
            sink = open_log(new.log, new.syslog_facility)
            step.opened(sink)
        board.reserve(new.max_children)
        kept = listeners if passed else rebind(listeners, new, step)
        return Change(new, kept, sink, text)


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


def rebind(listeners: list[Listener], new: Config, step: Step) -> list[Listener]:
    """Return listeners for all that `new` asks for: those there are, and new ones. Raises BindError or OSError.

    A new address may overlap an old one, `*:7` and `127.0.0.1:7`: while they are bound all share the port. For that
    moment only, or a second daemon could be started on the same port unnoticed.
    """
    bound = {listener.address for listener in listeners}
    missing = [address for address in new.listen if address not in bound]
    added: list[Listener] = []
    if missing:
        try:
            for listener in listeners:
                listener.share(True)
            added = bind_all(missing, new, open_shared)
            step.opened(*added)
        finally:
            failed = [error for listener in listeners + added if (error := unshare(listener))]
        if failed:
            raise failed[0]
    found = [listener for listener in listeners if listener.address in new.listen] + added
    refuse_overlap(found)
    return found
