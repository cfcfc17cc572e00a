"""The new version in an upgrade: in its trial, and where it goes on. Descriptors, pid and children stay the same.

The trial runs in its own process. It does all that may fail in the daemon's place and changes nothing of the daemon's.
What it writes on descriptor 1 is read by the daemon: an `Answer`. See `upgrade` for the whole sequence.
"""

from __future__ import annotations

import mmap

from echod.common import scoreboard
from echod.common.cmodules import os
from echod.common.config import settings
from echod.common.config.addresses import pack_host, write_address
from echod.common.config.settings import RESTART, SETTINGS, Config
from echod.common.errors import EchodError, from_os_error
from echod.common.items import read_items, write_items
from echod.common.scoreboard import MAGIC, VERSION, Scoreboard
from echod.common.sockets import adopt
from echod.common.succession import Answer, Succession
from echod.log.sinks import open_log
from echod.server.lean.slots import RECORDED, Child
from echod.server.reload import differences

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.common.config.addresses import Address
    from echod.common.launch import Launch
    from echod.log.sinks import Sink
    from echod.server.children import Children

LAYOUT = 0xFFFFFF  # of scoreboard.VERSION: its number


def trial(launch: Launch, words: list[str]) -> int:
    """Answer whether this version could go on from here; returns the exit code. `words` are its command line."""
    try:
        config, changes = rehearse(launch, Succession.take(words) or Succession())
    except EchodError as error:
        answer = Answer(code=error.code, why=str(error))
    except OSError as error:
        failed = from_os_error("cannot start", error)
        answer = Answer(code=failed.code, why=str(failed))
    else:
        answer = Answer(settings=write_settings(config), changes=tuple(changes))
    write_items(1, answer.to_items())
    return answer.code


def rehearse(launch: Launch, before: Succession) -> tuple[Config, list[str]]:
    """Do all that may fail; return the settings, and a line for each that differs. Raises EchodError, OSError."""
    check_layout(launch.board_fd)
    config, changes = determine(launch, before)
    adopt(launch.addresses, before.sockets)
    scoreboard.allocate(launch.board_fd, config.max_children)
    mmap.mmap(launch.board_fd, scoreboard.SIZE).close()
    open_log(config.log, config.syslog_facility)
    return config, changes


def determine(launch: Launch, before: Succession) -> tuple[Config, list[str]]:
    """Return the settings of the new version, and a line for each that differs from before. Raises ConfigError.

    Settings that need a restart stay as they are. So does `listen` if it has a new name, since the daemon would serve
    no client while it looks the name up, or if the sockets were passed.
    """
    asked = load(launch, None)
    known = [text for text in before.in_effect if text.partition("=")[0] in SETTINGS]
    if not known:
        return asked, []
    old = load(launch, before.replace(settings=tuple(known)))
    fixed = {name for name, row in SETTINGS.items() if row.effect == RESTART}
    if None in launch.addresses or not all(address in old.listen or is_numeric(address) for address in asked.listen):
        fixed.add("listen")
    return Config(vars(asked) | {name: getattr(old, name) for name in fixed}), differences(old, asked, fixed)


def is_numeric(address: Address) -> bool:
    """Return True if the resolver is not needed to listen on an address."""
    try:
        return address[0] == "*" or bool(pack_host(address[0]))
    except OSError:
        return False


def write_settings(config: Config) -> tuple[str, ...]:
    """Return the settings as KEY=VALUE; `load` reads them."""
    return tuple(f"{name}={config.text(name)}" for name in SETTINGS)


def open_its_log(before: Succession) -> Sink:
    """Open the log that a version was to have. Raises EchodError, OSError."""
    config = settings.load("/dev/null", before.settings, "/", newlines=True)
    return open_log(config.log, config.syslog_facility)


def check_layout(fd: int) -> None:
    """Raise EchodError where the scoreboard has another layout than this version's."""
    try:
        found = Scoreboard(fd).words[MAGIC]
    except ValueError:
        found = 0
    if found != VERSION:
        raise EchodError(f"the scoreboard has layout {found & LAYOUT}, this version {VERSION & LAYOUT}; use restart")


def load(launch: Launch, before: Succession | None) -> Config:
    """Return the settings: those that the launcher or the trial has read. A trial reads the file. Raises EchodError."""
    if launch.settings_fd >= 0:
        texts = take_items(launch.settings_fd)
        return settings.load("/dev/null", texts, "/", log=launch.log, newlines=True)
    if before is None:
        return settings.load(launch.config_file, launch.overrides, launch.base, log=launch.log)
    return settings.load("/dev/null", before.settings, "/", log=launch.log, newlines=True)


def take_items(fd: int) -> list[str]:
    """Read a file of items, and close it. Raises EchodError, OSError."""
    try:
        return read_items(fd)
    except ValueError as error:
        raise EchodError(f"the settings that the launcher has read: {error}") from None
    finally:
        os.close(fd)


def keep_addresses(config: Config, launch: Launch) -> Config:
    """Return the settings with the addresses that are listened on."""
    kept = tuple(dict.fromkeys(address for address in launch.addresses if address))
    return Config(vars(config) | {"listen": kept}) if kept else config


def adopt_children(children: Children, before: Succession) -> None:
    """Take over the children. The loop reaps those that have exited in between, since none is watched yet."""
    for pid, slot, named, address in before.children:
        child = children.table[pid] = Child(slot)
        child.state, child.address, child.named, child.peer = RECORDED, address, bool(named), write_address(address)
