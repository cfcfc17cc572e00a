"""What people type who run sshd, nginx, xinetd, PostgreSQL or containers, and what does the same here.

Only errors ask for it: nothing in these tables is accepted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from echod.common.config.file import nearest
from echod.common.config.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable

CHECK = "`echod check` examines the config"
FILE = "-c FILE names the config file"
FOREGROUND = "`echod run` serves in the foreground"
BACKGROUND = "`echod start` starts the daemon"
COMMAND = "the command is a word: echod stop, echod reload, echod reopen"
DEBUG = "-o log_level=debug logs every step"
OPTIONS = {
    "-t": CHECK, "-T": CHECK, "--test": CHECK, "--configtest": CHECK, "--dry-run": CHECK,
    "-f": FILE, "--config": FILE, "--config-file": FILE, "--conf": FILE, "--configuration": FILE, "--file": FILE,
    "-D": FOREGROUND, "-F": FOREGROUND, "--foreground": FOREGROUND, "--no-daemon": FOREGROUND, "--nodaemon": FOREGROUND,
    "-X": FOREGROUND, "-dontfork": FOREGROUND, "--no-fork": FOREGROUND,
    "-B": BACKGROUND, "--daemon": BACKGROUND, "--daemonize": BACKGROUND, "--background": BACKGROUND,
    "--detach": BACKGROUND,
    "-s": COMMAND, "-k": COMMAND, "--signal": COMMAND,
    "-d": f"{DEBUG}; {BACKGROUND}", "--debug": DEBUG, "--verbose": DEBUG, "-v": f"-V prints the version; {DEBUG}",
    "-q": "-o log_level=error logs errors only", "--quiet": "-o log_level=error logs errors only",
    "-?": "`echod help` prints the commands",
    "-p": "-o listen=*:PORT sets the port", "-l": "-o listen=HOST:PORT sets the address",
    "-b": "-o listen=HOST:PORT sets the address", "-a": "-o listen=HOST:PORT sets the address",
    "-u": "-o user=NAME sets the user", "-g": "-o group=NAME sets the group",
    "-P": "-o pid_file=FILE sets the pid file", "-E": "-o log=FILE sets the log", "-L": "-o log=FILE sets the log",
}  # fmt: skip
COMMANDS = {  # a word that is not a command: the command that does this here
    "force-reload": "reload", "refresh": "reload", "hup": "reload", "rehash": "reload",
    "try-restart": "restart", "condrestart": "restart", "reboot": "restart",
    "configtest": "check", "config": "check", "test": "check", "validate": "check", "verify": "check", "lint": "check",
    "explain": "check --explain ADDR",
    "quit": "stop", "shutdown": "stop", "kill": "stop --force", "terminate": "stop", "halt": "stop", "end": "stop",
    "down": "stop", "exit": "stop", "drain": "stop",
    "rotate": "reopen", "logrotate": "reopen", "flush": "reopen",
    "serve": "run", "foreground": "run", "fg": "run", "exec": "run", "nodaemon": "run", "server": "run",
    "up": "start", "launch": "start", "begin": "start", "daemon": "start", "daemonize": "start",
    "info": "status", "show": "status", "ps": "status", "stats": "status", "list": "status", "clients": "status",
    "top": "status --watch", "metrics": "status --openmetrics", "is-active": "status",
    "version": "--version", "xinetd": "inetd",
}  # fmt: skip
SYNONYMS = {  # a key without its - and _, in small letters: the setting that does this here
    **dict.fromkeys(
        ("port", "ports", "bind", "bindaddress", "address", "addresses", "host", "interface", "listenaddress",
         "listenaddresses", "listenon", "listenstream", "socket", "server", "ip"), "listen"),
    **dict.fromkeys(
        ("maxclients", "maxconnections", "maxconn", "maxsessions", "maxprocesses", "maxworkers", "maxchilds", "workers",
         "workerprocesses", "workerconnections", "connections", "instances", "concurrency", "limit", "maxspare",
         "maxrequestworkers", "processes"), "max_children"),
    **dict.fromkeys(("persource", "maxpersource", "maxconnectionspersource", "maxperip", "limitconn", "maxstartups",
                     "maxclientsperip", "persourcemaxstartups"), "max_children_per_source"),
    **dict.fromkeys(("timeout", "idle", "readtimeout", "proxytimeout", "clienttimeout", "keepalivetimeout",
                     "connectiontimeout", "inactivity", "idlesessiontimeout", "logingracetime", "sendtimeout"),
                    "idle_timeout"),
    **dict.fromkeys(("maxage", "lifetime", "sessiontimeout", "maxconnectionage", "runtime"), "max_lifetime"),
    **dict.fromkeys(("shutdowntimeout", "gracetimeout", "graceful", "stoptimeout", "gracefultimeout", "graceperiod",
                     "workershutdowntimeout", "terminationgraceperiod"), "drain_timeout"),
    **dict.fromkeys(("tcpkeepalive", "sokeepalive", "clientaliveinterval", "tcpkeepalivesidle", "keepidle"),
                    "keepalive"),
    **dict.fromkeys(("logfile", "errorlog", "accesslog", "syslog", "logdestination", "logging", "logtype", "logto",
                     "logdirectory", "output", "customlog"), "log"),
    **dict.fromkeys(("verbosity", "verbose", "debug", "level", "logminmessages"), "log_level"),
    **dict.fromkeys(("facility", "logfacility"), "syslog_facility"),
    **dict.fromkeys(("logconnections", "logsessions", "logonsuccess", "logdisconnections"), "log_clients"),
    **dict.fromkeys(("pid", "pidpath", "externalpidfile", "lockfile"), "pid_file"),
    **dict.fromkeys(("uid", "username", "runas", "runasuser"), "user"),
    **dict.fromkeys(("gid", "groupname", "runasgroup"), "group"),
    **dict.fromkeys(("chdir", "cwd", "workingdirectory", "workdir"), "directory"),
    **dict.fromkeys(("onlyfrom", "allowfrom", "allowhosts", "whitelist", "allowlist", "permit", "allowed"), "allow"),
    **dict.fromkeys(("noaccess", "denyfrom", "blacklist", "denylist", "block", "blocklist", "reject"), "deny"),
    **dict.fromkeys(("proxyprotocol", "acceptproxy", "setrealipfrom", "realip", "trustedproxies"), "proxy_from"),
    **dict.fromkeys(("listenbacklog", "somaxconn", "queuesize", "queue"), "backlog"),
    **dict.fromkeys(("whenfull", "overflow", "overload"), "over_limit"),
    **dict.fromkeys(("mode", "filemode"), "umask"),
}  # fmt: skip


def plain(word: str) -> str:
    """Return a key without what programs write differently: case, - and _."""
    return word.lower().replace("-", "").replace("_", "")


def setting(word: str) -> str:
    """Return the setting that a key of another program stands for, or nothing."""
    known = {plain(name): name for name in SETTINGS}
    return known.get(plain(word), "") or SYNONYMS.get(plain(word), "")


def option(word: str, commands: Iterable[str]) -> str:
    """Return what does the same as an option that echod does not have, or nothing."""
    name = word.partition("=")[0]
    bare = name.lstrip("-")
    if hint := OPTIONS.get(name):
        return hint
    if bare in commands:
        return f"the command is `echod {bare}`"
    if found := setting(bare) if name.startswith("--") else "":
        return f"-o {found}=VALUE sets that"
    if bare in COMMANDS:
        return f"the command is `echod {COMMANDS[bare]}`"
    return ""


def command(word: str, commands: Iterable[str]) -> str:
    """Return what does the same as a command that echod does not have."""
    commands = list(commands)
    word_lower = word.lower()
    begun = [name for name in commands if name.startswith(word_lower) or sorted(name) == sorted(word_lower)]
    found = COMMANDS.get(word.lower()) or (begun[0] if len(begun) == 1 else nearest(word, commands))
    if found:
        return f"did you mean `echod {found}`?"
    return meant(word) or f"the commands are {', '.join(commands)}"


def meant(word: str) -> str:
    """Return how a setting, a port or a file is written that stands where a command stands, or nothing."""
    key, equals, _ = word.partition("=")
    if equals and (found := setting(key)):
        return f"settings follow -o: -o {found}=VALUE"
    if word.isdecimal():
        return f"-o listen=*:{word} sets the port"
    if "/" in word or word.endswith(".conf"):
        return FILE
    return ""
