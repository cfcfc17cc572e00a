"""After an upgrade: go on where the version before has stopped. Descriptors, pid and children are the same."""

from __future__ import annotations

from echod.common.cmodules import os
from echod.common.config import settings
from echod.common.config.addresses import write_address
from echod.common.config.settings import Config
from echod.server.lean.slots import RECORDED, Child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.common.handover import Handover
    from echod.server.children import Children


def load(handover: Handover) -> Config:
    """Read the settings; after an upgrade, those that the trial has read. Raises ConfigError."""
    if handover.state_fd < 0:
        return settings.load(handover.config_file, handover.overrides, handover.base, log=handover.log)
    os.close(handover.state_fd)
    handover.state_fd = -1
    return settings.load("/dev/null", handover.settings, "/", log=handover.log)


def keep_addresses(config: Config, handover: Handover) -> Config:
    """Return the settings with the addresses that are listened on."""
    kept = tuple(dict.fromkeys(address for address in handover.addresses if address))
    return Config(vars(config) | {"listen": kept}) if kept else config


def adopt(children: Children, handover: Handover) -> None:
    """Take over the children. The loop reaps those that have exited in between, since none is watched yet."""
    for pid, slot, named, address in handover.children:
        child = children.table[pid] = Child(slot)
        child.state, child.address, child.named, child.peer = RECORDED, address, bool(named), write_address(address)
