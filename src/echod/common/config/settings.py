"""The settings: each declared once, in SETTINGS; `load` reads them from a file and from `-o KEY=VALUE`.

Its row in SETTINGS has what others know of a setting. Its one line of help is the first sentence in the manual and in
the sample config, which tests compare, and what `echod help KEY` and a shell's completion show.
"""

from __future__ import annotations

from echod.common.config import kinds
from echod.common.config.addresses import parse_address, refuse_overlap, write_address
from echod.common.config.file import absolute, nearest, read, read_overrides
from echod.common.config.networks import parse_network, write_network
from echod.common.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from echod.common.config.addresses import Address
    from echod.common.config.networks import Network

RELOAD = "at once"
NEW_CLIENTS = "new clients"
RESTART = "restart"
LEVELS = ("error", "warning", "info", "debug")
FACILITIES = (  # RFC 5424, table 1; 12 to 15 have no name
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("", "", "", ""),
    *(f"local{number}" for number in range(8)),
)


class Setting:
    """One setting: `default` as written in the file, `effect` when a reload applies a change, `help` one sentence."""

    __slots__ = ("default", "effect", "help", "kind", "name")

    def __init__(self, name: str, kind: kinds.Kind, default: str, effect: str, text: str) -> None:
        self.name = name
        self.kind = kind
        self.default = default
        self.effect = effect
        self.help = text


_NETWORKS = kinds.many(parse_network, write_network, "a list of networks, such as 10.0.0.0/8 2001:db8::1")
_ADDRESSES = kinds.many(
    parse_address, write_address, "a list of PORT, *:PORT, HOST:PORT, [V6]:PORT or [V6%IFACE]:PORT", least=1
)


def parse_listen(text: str) -> tuple[Address, ...]:
    """Read a list of addresses that do not overlap: no start could bind all of them. Raises ValueError."""
    found: tuple[Address, ...] = _ADDRESSES.parse(text)
    refuse_overlap(found)
    return found


_LISTEN = kinds.Kind(_ADDRESSES.allowed, parse_listen, _ADDRESSES.write)
_YES_NO = kinds.Kind("yes or no", kinds.parse_bool, lambda value: "yes" if value else "no", ("yes", "no"))
_UMASK = kinds.Kind("an octal mask of permission bits, such as 022", kinds.parse_umask, "{:03o}".format)
_NAME = kinds.Kind("a name or a number", kinds.parse_name)
_PATH = kinds.Kind("a path", str)
_LOG = kinds.Kind("syslog, stderr, none, or a path that begins with /, ./ or ../", kinds.parse_log, words=kinds.LOGS)

SETTINGS = {
    row.name: row
    for row in (
        Setting("listen", _LISTEN, "*:27978", RELOAD, "Sets one or more addresses on which the daemon listens."),
        Setting(
            "backlog",
            kinds.integer(1, 65535),
            "4096",
            RELOAD,
            "Sets the backlog argument of listen(2), which the kernel caps at somaxconn.",
        ),
        Setting(
            "max_children",
            kinds.integer(1, 65536),
            "256",
            RELOAD,
            "Sets how many clients the daemon serves at the same time.",
        ),
        Setting(
            "over_limit",
            kinds.choice("queue", "refuse"),
            "queue",
            RELOAD,
            "Sets what happens to new clients at max_children: queue lets them wait, refuse disconnects them.",
        ),
        Setting(
            "max_children_per_source",
            kinds.integer(0, 65536),
            "0",
            RELOAD,
            "Limits the clients of one IPv4 address or IPv6 /64; 0 is no limit.",
        ),
        Setting(
            "allow",
            _NETWORKS,
            "",
            RELOAD,
            "Sets the networks whose clients are allowed; if it is set, the daemon refuses all others.",
        ),
        Setting(
            "deny",
            _NETWORKS,
            "",
            RELOAD,
            "Sets the networks whose clients are denied; of allow and deny, the most specific match decides.",
        ),
        Setting(
            "proxy_from",
            _NETWORKS,
            "",
            NEW_CLIENTS,
            "Sets the networks of load balancers, whose connections begin with a PROXY protocol header.",
        ),
        Setting(
            "idle_timeout",
            kinds.duration(0.001),
            "10min",
            NEW_CLIENTS,
            "Closes a connection after this long without a byte in either direction.",
        ),
        Setting(
            "max_lifetime",
            kinds.duration(0.001),
            "never",
            NEW_CLIENTS,
            "Closes a connection after this long, however busy it is.",
        ),
        Setting(
            "drain_timeout", kinds.duration(0), "10s", RELOAD, "Sets how long a stop waits for clients to be drained."
        ),
        Setting(
            "keepalive",
            kinds.duration(1),
            "60s",
            NEW_CLIENTS,
            "Sets the time of TCP keep-alive: an idle peer that has vanished is noticed within three times this.",
        ),
        Setting("user", _NAME, "nobody", RESTART, "Sets the user that root becomes once it has bound its sockets."),
        Setting("group", _NAME, "", RESTART, "Sets the group that root becomes; empty: the group of that user."),
        Setting(
            "pid_file",
            _PATH,
            "",
            RESTART,
            "Sets the path of the pid file; empty: the default place, which echod check shows.",
        ),
        Setting("directory", _PATH, "/", RESTART, "Sets the working directory of the daemon."),
        Setting("umask", _UMASK, "022", RESTART, "Sets the permission bits that new files do not get."),
        Setting(
            "log",
            _LOG,
            "",
            RELOAD,
            "Sets the destination of the log: syslog, stderr, none or a path; empty: syslog, and stderr for run.",
        ),
        Setting("log_level", kinds.choice(*LEVELS), "info", RELOAD, "Sets the log level; debug logs every step."),
        Setting(
            "syslog_facility",
            kinds.choice(*filter(None, FACILITIES)),
            "daemon",
            RELOAD,
            "Sets the facility of log = syslog.",
        ),
        Setting(
            "log_clients",
            _YES_NO,
            "yes",
            RELOAD,
            "Logs one line per client at its end; no: only for those that a signal or an internal error ended.",
        ),
        Setting(
            "log_summary",
            _NETWORKS,
            "",
            RELOAD,
            "Sets networks whose clients, such as health checks, are logged in one line a minute per source.",
        ),
        Setting(
            "banner",
            kinds.BANNER,
            "",
            NEW_CLIENTS,
            "Sets a line that the child sends before the echo; %h is the name of the host, %p the port.",
        ),
        Setting("delay", kinds.duration(0), "0ms", NEW_CLIENTS, "Sets how long the child waits before each echo."),
        Setting(
            "close_after",
            kinds.BYTES,
            "never",
            NEW_CLIENTS,
            "Sets the number of bytes after which the child closes the connection in an orderly way.",
        ),
    )
}


class UnknownSettingError(ConfigError):
    """A key that is not a setting: `name`. The hint says which one may be meant."""

    def __init__(self, place: str, name: str, hint: str) -> None:
        super().__init__(f"{place}: unknown setting; {hint}")
        self.place = place
        self.name = name


class Config:
    """All settings, read and checked; durations in seconds, None is `never`. Never changed, only replaced whole."""

    listen: tuple[Address, ...]
    backlog: int
    max_children: int
    over_limit: str
    max_children_per_source: int
    allow: tuple[Network, ...]
    deny: tuple[Network, ...]
    proxy_from: tuple[Network, ...]
    idle_timeout: float | None
    max_lifetime: float | None
    drain_timeout: float | None
    keepalive: float | None
    user: str
    group: str
    pid_file: str
    directory: str
    umask: int
    log: str
    log_level: str
    syslog_facility: str
    log_clients: bool
    log_summary: tuple[Network, ...]
    banner: str
    delay: float | None
    close_after: int | None

    def __init__(self, settings: dict[str, Any]) -> None:
        self.__dict__.update(settings)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Config is replaced, not changed: {name}")

    def text(self, name: str) -> str:
        """Return a setting as it would stand in the file."""
        return SETTINGS[name].kind.write(getattr(self, name))


def load(
    path: str,
    overrides: Sequence[str],
    base: str,
    *,
    log: str = "syslog",
    newlines: bool = False,
    lines: Iterable[tuple[str, str, str]] | None = None,
) -> Config:
    """Read the settings that are in effect: the defaults, then the file, then `overrides` (KEY=VALUE each).

    An empty `path` is the default place, where no file means all defaults. Relative paths in values are taken from
    `base`; `log` is the default of the setting of that name. A path that is absolute now may hold a newline: `newlines`
    says if the overrides are such settings, written by echod itself. `lines` are those of the file, if it was read.
    Raises ConfigError.
    """
    found = {
        name: row.kind.parse(row.default) for name, row in SETTINGS.items() if row.default or row.kind is _NETWORKS
    }
    found |= {"group": "", "pid_file": "", "banner": "", "log": log}
    for entries in (read(path) if lines is None else lines, read_overrides(overrides, newlines=newlines)):
        seen: dict[str, str] = {}
        for where, name, text in entries:
            row, place = SETTINGS.get(name), where if where.startswith("-o ") else f"{where}: {name}"  # -o has the name
            if row is None:
                near = nearest(name, SETTINGS)
                raise UnknownSettingError(place, name, f"did you mean {near}?" if near else "man echod.conf lists them")
            if name in seen:
                raise ConfigError(f"{place}: set twice, first at {seen[name]}")
            seen[name] = where
            if text or row.default:
                found[name] = parse_value(row, text, base, where, place)
    return Config(found)


def parse_value(row: Setting, text: str, base: str, where: str, place: str) -> Any:
    """Read the value of a setting; `place` is where it is, and what names it. Raises ConfigError."""
    try:
        kinds.refuse_quotes(text)
        value = row.kind.parse(text)
    except ValueError as error:
        allowed = "" if "; " in str(error) else f"; allowed: {row.kind.allowed}"  # the error says what to write
        shown = "" if place == where else f" '{text}'"
        raise ConfigError(f"{place}:{shown} {error}{allowed}") from None
    if row.kind is _PATH or (row.kind is _LOG and "/" in value):
        return absolute(text, base, place)
    return value
