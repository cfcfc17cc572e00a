"""The log: one event a line, a verb and then key=value; to syslog, a file or stderr, and never in the way.

A log that is full, gone or stuck must not stop the daemon: nothing here blocks or raises once the log is open.
"""

from __future__ import annotations

import time

from echod.common.config.settings import LEVELS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.common.config.settings import Config
    from echod.server.log.sinks import Sink

ERROR, WARNING, INFO, DEBUG = range(4)
WINDOW = 5.0  # seconds: of messages alike, one each; the rest are counted


class Log:
    """The log as `config` has it, on a sink that is open."""

    def __init__(self, config: Config, sink: Sink) -> None:
        self.sink = sink
        self.lines = sink.write_all  # for events whose level and texts are known to be good
        self.level = LEVELS.index(config.log_level)
        self.clients = config.log_clients and self.level >= INFO
        self.debugging = self.level >= DEBUG
        self._windows: dict[str, tuple[float, int, int, str]] = {}  # key: end, left out, level, last text
        self.due = float("inf")  # when `flush` has something to do

    def write(self, level: int, text: str) -> None:
        """Log one event, if the level asks for it."""
        if level > self.level:
            return
        if not text.isprintable():
            text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
        self.sink.write(level, text)

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
        """Log one step. Ask `debugging` first where the text costs something to make."""
        self.write(DEBUG, text)

    def limited(self, level: int, key: str, text: str) -> None:
        """Log one of the events alike under `key`, at most one in WINDOW seconds, and the count of those left out."""
        now = time.monotonic()
        end, left_out, _, _ = self._windows.get(key, (0.0, 0, level, text))
        if now < end:
            self._windows[key] = (end, left_out + 1, level, text)
        else:
            self.write(level, f"{text} left_out={left_out}" if left_out else text)
            self._windows[key] = (now + WINDOW, 0, level, text)
        self.due = min(window[0] for window in self._windows.values())

    def flush(self, now: float) -> None:
        """Close the windows that are over: log the last event left out, and how many were."""
        for key, (end, left_out, level, text) in list(self._windows.items()):
            if end <= now:
                del self._windows[key]
                if left_out:
                    self.limited(level, key, f"{text} left_out={left_out - 1}" if left_out > 1 else text)
        self.due = min((window[0] for window in self._windows.values()), default=float("inf"))
