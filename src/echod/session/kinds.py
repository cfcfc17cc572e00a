"""Which session the settings ask for: every child begins with it."""

from __future__ import annotations

from echod.session.proxy import Proxied
from echod.session.session import Limits, Session
from echod.session.shaped import Shaped, ShapedProxied
from echod.session.trace import Traced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from echod.common.config.settings import Config

    class Board(Protocol):
        """What a child needs of the scoreboard."""

        def drain_timeout(self) -> float | None:
            """Return the setting in effect, in seconds, None for never."""

        def write_text(self, slot: int, text: str) -> None:
            """Write the name of the client."""


def make_session(config: Config, board: Board) -> Session:
    """Return the session; what the settings do not ask for is not in it, and costs no client anything."""
    limits = Limits(config.idle_timeout, config.max_lifetime, board.drain_timeout)
    session: Session
    if config.banner or config.delay or config.close_after:
        shaped = ShapedProxied(limits, config, board.write_text) if config.proxy_from else Shaped(limits)
        shaped.shape, session = config, shaped
    else:
        session = Proxied(limits, config, board.write_text) if config.proxy_from else Session(limits)
    return Traced(session, limits, config) if config.log_level == "debug" else session
