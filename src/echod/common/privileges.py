"""The one place where a process of root becomes another user: the server, and the commands that try what it will do."""

from __future__ import annotations

from echod.common.cmodules import os


def become(uid: int, gid: int) -> None:
    """Become a user and a group for good, without supplementary groups (TLPI 9.7.4). Raises OSError.

    The groups come first: a process that has given up root may not change them.
    """
    os.setgroups([gid])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
