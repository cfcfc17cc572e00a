"""The log: one event a line, a verb and then key=value; to syslog, a file or stderr, and never in the way.

A log that is full, gone or stuck must not stop the daemon: nothing here blocks or raises once the log is open.
"""

from __future__ import annotations

from echod.common.config.settings import LEVELS
from echod.common.errors import printable
from echod.common.reasons import REFUSED, is_fault
from echod.log.rates import FOREVER, RateLimits, Summaries, source_of
from echod.log.sinks import read_time_zone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.common.config.settings import Config
    from echod.log.sinks import Sink

ERROR, WARNING, INFO, DEBUG = range(4)
LINES = 16  # that one write takes: fewer than PIPE_BUF bytes
CLOSE = "close peer={} child={} reason={} in={} out={} secs={:.3f}"


class Log:
    """The log of a process, for its whole life, on a sink that is open. `configure` applies other settings to it."""

    def __init__(self, config: Config, sink: Sink) -> None:
        self.sink = sink
        self.limits = RateLimits()
        self._apply(config)

    def _apply(self, config: Config) -> None:
        self.level = LEVELS.index(config.log_level)
        self.clients = config.log_clients and self.level >= INFO
        self.summaries = Summaries(config.log_summary)

    def configure(self, config: Config, sink: Sink) -> None:
        """Apply settings, and use a sink, which may be the present one. The limits stay. Raises OSError.

        What the old sink raises when it is closed is raised last.
        """
        self.summaries.flush(self.info, FOREVER)
        read_time_zone()
        old, self.sink = self.sink, sink
        self._apply(config)
        if old is not sink:
            old.close()

    def reopen(self) -> None:
        """Open the sink again, and read the time zone again. Raises OSError."""
        read_time_zone()
        self.sink.reopen()

    def write(self, level: int, text: str) -> None:
        """Log one event, if the level asks for it."""
        if level > self.level:
            return
        if not text.isprintable():
            text = printable(text).replace("\n", "\\n")
        self.sink.write(level, text)

    def lines(self, level: int, texts: list[str]) -> None:
        """Log many events, whose texts are known to be printable, in few writes; empty ones are none."""
        if level <= self.level and "" in texts:
            texts = list(filter(None, texts))
        if level <= self.level:
            for at in range(0, len(texts), LINES):
                self.sink.write_all(level, texts[at : at + LINES])

    def error(self, text: str) -> None:
        """Log what stops the daemon or keeps it from doing what it was told."""
        self.write(ERROR, text)

    def warning(self, text: str) -> None:
        """Log what someone should look at."""
        self.write(WARNING, text)

    def info(self, text: str) -> None:
        """Log what belongs to the day's work."""
        self.write(INFO, text)

    def debug(self, text: str) -> None:
        """Log one step. Look at `level` first where the text costs something to make."""
        self.write(DEBUG, text)

    def limited(self, level: int, event: str, source: object, text: str) -> None:
        """Log one of the events alike that come from a source, or count it: see `limits`."""
        self.limits.limited(self.write, level, event, source, text)

    def due(self) -> float:
        """Return when `flush` has something to do."""
        return min(self.limits.due, self.summaries.due)

    def flush(self, now: float) -> None:
        """Write the counts that are due; all of them where `now` is infinite."""
        self.limits.flush(self.write, now)
        self.summaries.flush(self.info, now)


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
