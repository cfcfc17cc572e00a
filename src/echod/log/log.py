"""The log: one event a line, a verb and then key=value; to syslog, a file or stderr, and never in the way.

A log that is full, gone or stuck must not stop the daemon: nothing here blocks or raises once the log is open.
"""

from __future__ import annotations

from echod.common.config.settings import LEVELS
from echod.common.errors import printable
from echod.log.limits import FOREVER, RateLimits
from echod.log.summary import Summaries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.common.config.settings import Config
    from echod.log.sink import Sink

ERROR, WARNING, INFO, DEBUG = range(4)
LINES = 16  # that one write takes: fewer than PIPE_BUF bytes


class Log:
    """The log as `config` has it, on a sink that is open. `limits` are those of the log before, if there was one."""

    def __init__(self, config: Config, sink: Sink, limits: RateLimits | None = None) -> None:
        self.sink = sink
        self.level = LEVELS.index(config.log_level)
        self.clients = config.log_clients and self.level >= INFO
        self.limits = limits or RateLimits()
        self.summaries = Summaries(config.log_summary)

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

    def hand_over(self, successor: Log) -> None:
        """Make way for another log, which has the limits, and may have the sink. Raises OSError."""
        self.summaries.flush(self.info, FOREVER)
        if self.sink is not successor.sink:
            self.sink.close()
