"""Whom root becomes, once it has bound its sockets: the settings `user` and `group` as numbers."""

from __future__ import annotations

import grp
import os
import pwd
from typing import TYPE_CHECKING

from echod.common.errors import NOT_PERMITTED, ConfigError, EchodError

if TYPE_CHECKING:
    from echod.common.config.settings import Config
    from echod.common.handover import Handover


def identify(config: Config, handover: Handover) -> None:
    """Look up whom root becomes; the server gets numbers. Raises ConfigError, or EchodError when not permitted."""
    try:
        user = pwd.getpwuid(int(config.user)) if config.user.isdecimal() else pwd.getpwnam(config.user)
        group = user.pw_gid
        if config.group:
            group = int(config.group) if config.group.isdecimal() else grp.getgrnam(config.group).gr_gid
    except KeyError as error:
        raise ConfigError(f"user, group: {error.args[0]}; name one that exists") from None
    if os.geteuid() == 0:
        if user.pw_uid != 0:
            handover.uid, handover.gid = user.pw_uid, group
    elif config.user not in ("nobody", user_name()) and user.pw_uid != os.geteuid():
        raise EchodError(f"user: only root can become {config.user}; leave user out", NOT_PERMITTED)


def user_name() -> str:
    """Return the name of the user we are, or the number where it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
