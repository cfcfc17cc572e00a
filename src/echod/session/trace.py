"""At log_level=debug a child logs what it does: the session is the same, and this stands around it.

A child has closed the log with all else, and keeps no other descriptor at this level either: it opens the log for each
line. What a session reads and writes is logged by wrapping the two calls, in the child's own memory.
"""

from __future__ import annotations

from echod.common.calls import read, write
from echod.common.errors import EchodError
from echod.common.reasons import DRAIN, EOF, IDLE, LIFETIME, reason_of
from echod.common.signals_table import signal_name
from echod.log.log import DEBUG
from echod.log.sinks import open_log
from echod.session import session
from echod.session.session import Limits, Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from echod.common.config.settings import Config
    from echod.session.session import Counters


class Traced(Session):
    """A session that logs its steps."""

    __slots__ = ("_config", "_inner")

    def __init__(self, inner: Session, limits: Limits, config: Config) -> None:
        super().__init__(limits)
        self._inner, self._config = inner, config

    def run(self, fd: int, counters: Counters, at: int) -> int:
        """Run the session, and log how it begins and ends."""
        self._debug(f"child fd={fd}; all others but 0 to 2 are closed")
        vars(session).update(read=self._first("read", read), write=self._first("write", write))
        reason = self._inner.run(fd, counters, at)
        if reason == EOF:
            self._debug(f"read fd={fd} bytes=0, which is the client's FIN")
        elif reason in (IDLE, LIFETIME, DRAIN):
            self._debug(f"shutdown fd={fd}, our FIN; what came then was dropped")
        self._debug(f"exit status={reason} reason={reason_of(reason << 8)} fd={fd}, which the kernel closes")
        return reason

    def end(self, signum: int, _frame: object = None) -> None:
        """End the session."""
        self._debug(f"signal name={signal_name(signum)}")
        self._inner.end(signum)

    def _first(self, what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a call that logs its first result, bytes or how many, that is not nothing."""
        logged = False

        def first(fd: int, argument: Any) -> Any:
            nonlocal logged
            result = call(fd, argument)
            if not logged and result:
                logged = True
                count = len(result) if isinstance(result, bytes) else result
                self._debug(f"{what} fd={fd} bytes={count}, the first")
            return result

        return first

    def _debug(self, text: str) -> None:
        """Log a line, as far as that can be done from here."""
        try:
            sink = open_log(self._config.log, self._config.syslog_facility)
            sink.write(DEBUG, text)
            sink.close()
        except (EchodError, OSError):
            return
