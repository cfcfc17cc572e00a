"""What the scoreboard says of the settings in force, and of what the daemon was last asked for."""

from __future__ import annotations

from echod.common import scoreboard
from echod.common.config.file import DEFAULT_PATH
from echod.common.scoreboard import DRAIN_MS, MAX_CHILDREN, NEVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.common.config.settings import Config
    from echod.common.launch import Launch
    from echod.server.board import Board

OUTCOMES = {"last_reload": "ok", "reopen": "ok", "upgrade": "ok", "changes": ""}  # the last may be cut


def outcomes(board: Board) -> dict[str, str]:
    """Return how the last requests have ended: those to the version before this one, too."""
    texts = scoreboard.Scoreboard(board.fd).texts()
    return {key: texts.get(key, default) for key, default in OUTCOMES.items()}


def publish(board: Board, config: Config, launch: Launch, names: str, found: dict[str, str]) -> None:
    """Write it."""
    drain = config.drain_timeout
    board.words[MAX_CHILDREN] = config.max_children
    board.words[DRAIN_MS] = NEVER if drain is None else round(drain * 1000)
    board.set_texts(
        listen=names,
        addresses=config.text("listen"),
        config_file=launch.config_file or DEFAULT_PATH,
        overrides="\t".join(launch.overrides),
        **found,
    )
