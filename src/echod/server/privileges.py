"""From root to the daemon's user, for good."""

from __future__ import annotations

from echod.common.cmodules import os
from echod.common.errors import NOT_PERMITTED, EchodError, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.common.sockets import Listener


def drop(uid: int, gid: int, listeners: list[Listener]) -> None:
    """Become the user and the group, without supplementary groups. Raises EchodError.

    Nothing is imported afterwards: the files may be unreadable by then.
    """
    try:
        for listener in listeners:
            os.fchown(listener.fd, uid, gid)  # a socket has an owner: SO_REUSEPORT is for sockets of the same one
        os.setgroups([gid])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        hint = "start as an ordinary user, or with -o user=root"
        raise EchodError(f"cannot become user {uid}, group {gid}: {describe(error)}; {hint}", NOT_PERMITTED) from None
