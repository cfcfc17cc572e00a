"""What the log says of a client that is gone: a line of its own, `close`; or it was refused; or a summary has it."""

from __future__ import annotations

from echod.common.reasons import REFUSED, is_fault
from echod.log.log import INFO
from echod.log.summary import source_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.log.log import Log

CLOSE = "close peer={} child={} reason={} in={} out={} secs={:.3f}"


def describe(log: Log, peer: str, pid: int, reason: str, served: tuple[int, int, float]) -> str:
    """Return the line for a client that is gone, or an empty one; `served`: bytes in and out, seconds."""
    if reason in REFUSED:
        log.limited(INFO, reason, source_of(peer), f"refuse peer={peer} reason={reason}")
        return ""
    if not is_fault(reason):
        if log.summaries.networks and log.summaries.add(peer, reason, *served[:2]):
            return ""
        if not log.clients:
            return ""
    return CLOSE.format(peer, pid, reason, *served)
