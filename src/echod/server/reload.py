"""A reload: everything new is made beside the old, and put in force at the end or not at all.

Its outcome is published on the scoreboard, where the command that asked for it reads it.
"""

from __future__ import annotations

from echod.common import scoreboard
from echod.common.config import settings as configuration
from echod.common.config.file import DEFAULT_PATH
from echod.common.config.settings import RESTART, SETTINGS, Config
from echod.common.errors import DONE, FAILED, EchodError, from_os_error
from echod.common.sockets import Listener, bind_all
from echod.server.log import sinks
from echod.server.log.log import Log
from echod.server.session import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.common.handover import Handover
    from echod.server.server import Server


class Change:
    """What a reload puts in force, and `text`: a line for each setting that differs."""

    def __init__(self, config: Config, listeners: list[Listener], log: Log, text: list[str]) -> None:
        self.config = config
        self.listeners = listeners
        self.log = log
        self.text = text


def prepare(handover: Handover, old: Config, listeners: list[Listener], log: Log) -> Change:
    """Read the config again and make what it asks for. Raises EchodError; then nothing changed."""
    asked = configuration.load(handover.config_file, handover.overrides, handover.base, log=handover.log)
    passed = any(listener.address is None for listener in listeners)
    fixed = {name for name, row in SETTINGS.items() if row.effect == RESTART} | ({"listen"} if passed else set())
    new = Config(vars(asked) | {name: getattr(old, name) for name in fixed})
    text = [
        f"{name}: {old.text(name) or 'empty'} -> {asked.text(name) or 'empty'}{note(name, fixed)}"
        for name in SETTINGS
        if getattr(old, name) != getattr(asked, name)
    ]
    same_log = (new.log, new.syslog_facility) == (old.log, old.syslog_facility)
    sink = log.sink if same_log else open_log(new)
    try:
        return Change(new, listeners if passed else rebind(listeners, new), Log(new, sink), text)
    except BaseException:
        if not same_log:
            sink.close()
        raise


def open_log(config: Config) -> sinks.Sink:
    """Open what `log` names. Raises EchodError."""
    try:
        return sinks.open_sink(config.log, config.syslog_facility)
    except OSError as error:
        raise from_os_error("cannot open the log", error) from None


def note(name: str, fixed: set[str]) -> str:
    """Return when a changed setting takes effect, unless that is now."""
    if name in fixed:
        return " (needs a restart)"
    effect = SETTINGS[name].effect
    return "" if effect == configuration.RELOAD else f" ({effect})"


def rebind(listeners: list[Listener], new: Config) -> list[Listener]:
    """Return the listeners that `new` asks for: those there are, and new ones. Raises BindError.

    A new address may overlap an old one, as *:7 and 127.0.0.1:7 do, and the old sockets must go on listening until the
    new ones do. Linux allows that among sockets of one user that all have SO_REUSEPORT; they have it for this moment
    only, or a second daemon could be started on the same port unnoticed.
    """
    bound = {listener.address for listener in listeners}
    missing = [address for address in new.listen if address not in bound]
    added: list[Listener] = []
    if missing:
        for listener in listeners:
            listener.share(True)
        try:
            added = bind_all(missing, new, share=True)
        finally:
            for listener in listeners + added:
                listener.share(False)
    return [listener for listener in listeners if listener.address in new.listen] + added


def reload(server: Server) -> None:
    """Act on SIGHUP: all of the new settings take effect, or none."""
    words = server.board.words
    words[scoreboard.RELOADS_BEGUN] += 1
    server.notify.reloading()
    code, text = DONE, ["ok"]
    try:
        if server.draining:
            raise EchodError("the daemon is about to stop")
        change = prepare(server.handover, server.config, list(server.acceptor.listeners.values()), server.log)
    except EchodError as error:
        code, text = error.code, [str(error)]
    else:
        apply(server, change)
        words[scoreboard.GENERATION] += 1
        text += change.text
    publish(server, *text)
    words[scoreboard.RELOAD_CODE] = code
    words[scoreboard.RELOADS_DONE] = words[scoreboard.RELOADS_BEGUN]
    server.notify.ready(f"serving on {names(server)}")
    if code:
        server.log.error(f"reload failed={text[0]!r}; the settings of before stay in force")
    else:
        server.log.info(
            f"reload generation={words[scoreboard.GENERATION]} changed={'; '.join(text[1:]) or 'nothing'!r}"
        )


def apply(server: Server, change: Change) -> None:
    """Put a change in force. Nothing here can fail."""
    old_log, server.log = server.log, change.log
    if old_log.sink is not change.log.sink:
        old_log.sink.close()
    config = server.config = change.config
    server.children.log = change.log
    server.children.set_limits(Limits(config.max_lifetime, config.drain_timeout))
    server.acceptor.replace(config, change.listeners, change.log)
    server.schedule()


def reopen(server: Server) -> None:
    """Act on SIGUSR1: open the log file again, after rotation."""
    words = server.board.words
    words[scoreboard.REOPENS_BEGUN] += 1
    code, text = DONE, "ok"
    try:
        server.log.sink.reopen()
    except OSError as error:
        code, text = FAILED, str(from_os_error("cannot open the log", error))
        server.log.error(f"reopen failed={text!r}")
    publish(server, reopen=text)
    words[scoreboard.REOPEN_CODE] = code
    words[scoreboard.REOPENS_DONE] = words[scoreboard.REOPENS_BEGUN]


def names(server: Server) -> str:
    """Return where the server listens, as text."""
    return ",".join(listener.name for listener in server.acceptor.listeners.values())


def publish(server: Server, *outcome: str, reopen: str = "ok") -> None:
    """Write to the scoreboard what is in force; `outcome`: of the last reload, then a line for each change."""
    board, drain = server.board, server.config.drain_timeout
    board.words[scoreboard.MAX_CHILDREN] = server.config.max_children
    board.words[scoreboard.DRAIN_MS] = scoreboard.NEVER if drain is None else round(drain * 1000)
    if outcome:
        server.outcome = outcome
    board.set_texts(
        listen=names(server),
        config_file=server.handover.config_file or DEFAULT_PATH,
        last_reload=server.outcome[0],
        reopen=reopen,
        changes="\t".join(server.outcome[1:]),  # last: it may be cut
    )
