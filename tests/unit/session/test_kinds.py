from __future__ import annotations

import pytest

from echod.session.kinds import make_session
from echod.session.proxy import Proxied
from echod.session.session import Session
from echod.session.trace import Traced
from support.sockets import make_board, settings


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        ((), Session),
        (("log_level=debug",), Traced),
        (("proxy_from=127.0.0.1",), Proxied),
        (("proxy_from=127.0.0.1", "log_level=debug"), Traced),
    ],
)
def test_a_session_is_what_the_settings_ask_for(overrides, kind):
    assert type(make_session(settings(*overrides), make_board())) is kind


def test_its_limits_are_those_of_the_settings():
    limits = make_session(settings("idle_timeout=7s", "max_lifetime=8s"), make_board())._limits
    assert (limits.idle, limits.lifetime, limits.drain_timeout()) == (7.0, 8.0, None)


def test_at_debug_the_session_is_the_same():
    board = make_board()
    for overrides in ((), ("proxy_from=127.0.0.1",)):
        traced = make_session(settings("log_level=debug", *overrides), board)
        assert isinstance(traced, Traced)
        assert type(traced._inner) is type(make_session(settings(*overrides), board))
