"""A client that the server closes unserved: counted, with its address as the last one, and logged at a limited rate."""

from __future__ import annotations

from echod.common.config.addresses import write_address
from echod.server.log.log import INFO
from echod.server.log.summary import source_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from echod.server.board import Board
    from echod.server.log.log import Log

OVER_LIMIT, FORK_FAILED = "over_limit", "fork_failed"  # of scoreboard.REFUSALS; the other reasons are of `admission`


def refuse(board: Board, log: Log, address: tuple[Any, ...], why: str) -> None:
    """Count and log the client, whose connection the caller closes; `why` is one of scoreboard.REFUSALS."""
    peer = write_address(address)
    board.begin()
    board.count_refusal(why, peer)
    board.end()
    log.limited(INFO, why, source_of(peer), f"refuse peer={peer} reason={why}")
