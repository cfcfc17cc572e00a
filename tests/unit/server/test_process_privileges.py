from __future__ import annotations

import os
import socket

import pytest

from echod.common.errors import NOT_PERMITTED, EchodError
from echod.common.privileges import become
from echod.common.sockets import bind_all
from echod.server import process as privileges
from support.processes import NOBODY, isolated
from support.sockets import settings
from support.wait import need_root


@pytest.mark.parametrize(
    "drop", [become, lambda uid, gid: privileges.drop_privileges(uid, gid, [])], ids=["command", "server"]
)
def test_privileges_are_dropped_for_good_and_groups_with_them(drop):
    need_root()

    def check():
        os.setgroups([4, 24])
        drop(NOBODY, NOBODY)
        assert os.getresuid() == os.getresgid() == (NOBODY,) * 3
        assert os.getgroups() == [NOBODY]
        for regain in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0])):
            with pytest.raises(PermissionError):
                regain()

    isolated(check)


def test_the_listeners_belong_to_the_user_who_may_then_share_their_port():
    need_root()

    def check():
        (first,) = bind_all([("127.0.0.1", 0)], settings())
        privileges.drop_privileges(NOBODY, NOBODY, [first])
        assert os.fstat(first.fd).st_uid == NOBODY
        first.share(True)
        second = socket.socket()
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        second.bind(first.sock.getsockname())
        second.listen()

    isolated(check)


def test_who_may_not_is_told_the_way_out():
    def check():
        if os.geteuid() == 0:
            os.setresuid(NOBODY, NOBODY, NOBODY)
        with pytest.raises(EchodError, match=r"cannot become user 0, group 0: .*not permitted; start as") as caught:
            privileges.drop_privileges(0, 0, [])
        assert caught.value.code == NOT_PERMITTED

    isolated(check)
