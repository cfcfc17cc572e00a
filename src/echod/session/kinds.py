"""Which session the settings ask for: every child begins with it."""

from __future__ import annotations

from echod.server.proxy import Proxied
from echod.server.session import Limits, Session
from echod.server.trace import Traced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.common.config.settings import Config
    from echod.server.board import Board


def make_session(config: Config, board: Board) -> Session:
    """Return the session; what the settings do not ask for is not in it, and costs no client anything."""
    limits = Limits(config.idle_timeout, config.max_lifetime, board.drain_timeout)
    session = Proxied(limits, config, board.write_text) if config.proxy_from else Session(limits)
    return Traced(session, limits, config) if config.log_level == "debug" else session
