"""Users: whom root becomes once it has bound its sockets, and as whom root signals."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from typing import TYPE_CHECKING

from echod.common.errors import NOT_PERMITTED, ConfigError, EchodError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echod.cli.paths import Paths
    from echod.common.config.settings import Config

LARGEST_ID = 0xFFFFFFFE  # -1 stands for "unchanged" (setresuid(2))


def identify(paths: Paths, config: Config) -> tuple[int, int]:
    """Return the user and group that root becomes, -1 for none.

    Raises ConfigError, or EchodError when that is not permitted.
    """
    user = look_up_user(paths, config.user)
    group = look_up_group(paths, config.group) if config.group else user.pw_gid
    if os.geteuid() != 0:
        if config.user not in ("nobody", user_name(os.geteuid())) and user.pw_uid != os.geteuid():
            why = f"only root can become '{config.user}'; allowed: the user who starts it, or none"
            raise EchodError(f"{paths.origin('user')}user: {why}", NOT_PERMITTED)
        return -1, -1
    return (user.pw_uid, group) if user.pw_uid != 0 or config.group else (-1, -1)


def look_up_user(paths: Paths, name: str) -> pwd.struct_passwd:
    """Find a user by name or number. Raises ConfigError."""
    try:
        return pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        why = f"there is no user '{name}'; allowed: one that exists, by name or number"
        raise ConfigError(f"{paths.origin('user')}user: {why}") from None


def look_up_group(paths: Paths, name: str) -> int:
    """Find a group by name; a number need not have one. Raises ConfigError."""
    try:
        found = int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError:
        found = LARGEST_ID + 1
    if found > LARGEST_ID:
        why = f"there is no group '{name}'; allowed: one that exists, by name or number"
        raise ConfigError(f"{paths.origin('group')}group: {why}")
    return found


def user_name(uid: int) -> str:
    """Return the name of a user, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@contextlib.contextmanager
def rights_of(uids: set[int]) -> Iterator[None]:
    """Have root give up its rights for those of the one user in `uids`, if any: the kernel then decides for that user.

    Raises PermissionError when there are several, or one that root cannot become.
    """
    if not uids:
        yield
        return
    before = os.getresuid()
    uid = min(uids)
    if len(uids) > 1 or uid < 0:
        raise PermissionError
    try:
        os.setresuid(uid, uid, 0)
    except OSError:
        raise PermissionError from None
    try:
        yield
    finally:
        os.setresuid(*before)
