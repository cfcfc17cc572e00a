"""Which kind of log the setting `log` names."""

from __future__ import annotations

from echod.server.log.file import File
from echod.server.log.none import NoLog
from echod.server.log.stderr import Stderr
from echod.server.log.syslog import Syslog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.server.log.sink import Sink


def open_sink(target: str, facility: str) -> Sink:
    """Open what the setting `log` names. Raises OSError."""
    if target == "syslog":
        return Syslog(facility)
    if target == "none":
        return NoLog()
    return Stderr() if target == "stderr" else File(target)
