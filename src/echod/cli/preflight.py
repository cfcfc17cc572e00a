"""What a start needs, tried beforehand: `restart` stops nothing when the user, the log or an address fails."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

from echod.cli.context import user_name
from echod.common.config.addresses import parse_address, write_address
from echod.common.config.file import DEFAULT_PATH
from echod.common.errors import FAILED, NOT_PERMITTED, EchodError, describe
from echod.common.journal import mark
from echod.common.privileges import become
from echod.common.sockets import bind, unresolved
from echod.log.log import WARNING
from echod.log.sinks import log_remedy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echod.common.config.addresses import Address
    from echod.common.config.settings import Config
    from echod.common.launch import Launch

APPEND = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104 - to compare with
BECOME, LOG, CONFIG = "become", "log", "config"


def attempt(config: Config, launch: Launch, root: str = "") -> dict[str, str]:
    """Become the daemon's user in a child, and open its log and its config there; returns what failed, and why.

    `root`: the root directory of a running daemon, whose sandbox may show it other files; empty: this process's.
    A log that does not exist is not made: `check` changes nothing.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a caller that ignores it would leave us no child to wait for
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if root:
                os.chroot(root)
            for step, why in failures(config, launch):
                os.write(write_end, f"{step}\t{why}\n".encode(errors="surrogateescape"))
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end, errors="surrogateescape") as reply:
        found = dict(line.rstrip("\n").split("\t", 1) for line in reply)
    os.waitpid(pid, 0)
    return found


def failures(config: Config, launch: Launch) -> Iterator[tuple[str, str]]:
    """Do what `attempt` does in its child."""
    try:
        if launch.uid >= 0:
            become(launch.uid, launch.gid)
    except OSError as error:
        yield BECOME, describe(error)
        return
    for step, path, flags in ((LOG, config.log, APPEND), (CONFIG, launch.config_file or DEFAULT_PATH, os.O_RDONLY)):
        if path.startswith("/"):
            try:
                os.close(os.open(path, flags))
            except FileNotFoundError as error:
                if step == LOG and (why := cannot_make(path, error)):
                    yield step, describe(why)
            except OSError as error:
                yield step, describe(error)


def cannot_make(path: str, error: OSError) -> OSError | None:
    """Return why a file that is not there cannot be made, without making it; `error` is that of its opening."""
    directory = os.path.dirname(path)
    if os.access(directory, os.W_OK | os.X_OK):
        return None
    if not os.path.isdir(directory):
        return error
    code = errno.EROFS if os.statvfs(directory).f_flag & os.ST_RDONLY else errno.EACCES
    return OSError(code, os.strerror(code), path)


def check_user(config: Config, launch: Launch, root: str = "") -> dict[str, str]:
    """Return what `attempt` does, but for a user that cannot be become. Raises EchodError, NOT_PERMITTED."""
    failed = attempt(config, launch, root)
    if BECOME in failed:
        raise EchodError(
            f"cannot become user {config.user}: {failed[BECOME]}; start it as an ordinary user, or with -o user=root"
            f"{' and no group' if config.group else ''}",
            NOT_PERMITTED,
        )
    return failed


def warn(config: Config, launch: Launch) -> None:
    """Warn when the daemon will not be able to read its config again. Raises EchodError as `check_user`."""
    failed = check_user(config, launch)
    if CONFIG in failed:
        text = unreadable_config(failed[CONFIG], user_of(launch))
        print(f"{mark(WARNING)}echod: warning: {text}", file=sys.stderr)


def user_of(launch: Launch) -> str:
    """Return the name of the user that the daemon runs as."""
    return user_name(launch.uid if launch.uid >= 0 else os.geteuid())


def unreadable_config(why: str, user: str) -> str:
    """Return the warning about a config that the daemon's user cannot read; `why` begins with its path."""
    place = f"keep the config where user {user} can read it, such as {DEFAULT_PATH} with mode 644"
    return f"{why} for user {user}, so a reload would fail; {place}"


def check_start(config: Config, launch: Launch, held: list[str] | None) -> None:
    """See that a daemon can be started in place of one that listens on `held`, if known. Raises EchodError."""
    failed = check_user(config, launch)
    if LOG in failed:
        remedy = log_remedy(config.log, user_of(launch), failed[LOG])
        raise EchodError(f"cannot open the log: {failed[LOG]} for user {user_of(launch)}; {remedy}", FAILED)
    for address in config.listen if held is not None else ():
        for name in missing(address, held or []):
            for listener in bind(parse_address(name), config):
                listener.close()


def missing(address: Address, held: list[str]) -> list[str]:
    """Return the names of an address that are neither held nor overlap with one that is. Raises BindError."""
    host, port = address
    if host == "*":
        return [] if any(name.endswith(f":{port}") for name in held) else [write_address(address)]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise unresolved(address, error) from None
    return [
        write_address(where)
        for family, where in dict.fromkeys((entry[0], entry[4]) for entry in found)
        if not {write_address(where), write_address((ANY[family], port))} & set(held)
    ]
