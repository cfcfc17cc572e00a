"""Which kind of log the setting `log` names."""

from __future__ import annotations

from echod.log.file import File
from echod.log.none import NoLog
from echod.log.stderr import Stderr
from echod.log.syslog import Syslog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.log.sink import Sink


def open_sink(target: str, facility: str) -> Sink:
    """Open what the setting `log` names. Raises OSError."""
    if target == "syslog":
        return Syslog(facility)
    if target == "none":
        return NoLog()
    return Stderr() if target == "stderr" else File(target)
