"""One verified round trip, reported as the Monitoring Plugins guidelines require.

A monitoring system starts this every few seconds on many machines. Therefore it imports as little as it can.
"""

from __future__ import annotations

import os
import time

from echod.echoc.connect import Target, connect
from echod.echoc.faults import ConnectError, ServerError, Value
from echod.echoc.report import json_text
from echod.echoc.roundtrip import roundtrip

MESSAGE_BYTES = 64
STATES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")  # by exit status
OK, WARNING, CRITICAL, UNKNOWN = range(4)


class Outcome(Value):
    """The result of a check: a text for people, and the `seconds` of the round trip, or None.

    `state` is the exit status. `limits_ms` are those of WARNING and CRITICAL.
    """

    def __init__(
        self,
        state: int,
        text: str,
        target: Target | None = None,
        seconds: float | None = None,
        limits_ms: tuple[float | None, float | None] = (None, None),
    ) -> None:
        self.state = state
        self.text = text
        self.target = target
        self.seconds = seconds
        self.limits = [None if limit is None else limit / 1000 for limit in limits_ms]

    def line(self) -> str:
        """Return the line that a plugin prints, with performance data. A bar in the text would begin them."""
        text = f"ECHO {STATES[self.state]} - {self.text.replace('|', '/')}"
        if self.seconds is None or self.target is None:
            return text
        limits = ";".join("" if limit is None else f"{limit:g}" for limit in self.limits)
        return f"{text} | time={self.seconds:.6f}s;{limits};0;{self.target.timeout:g}"

    def json(self) -> str:
        """Return the same as one JSON object, with times in seconds."""
        where = {"host": self.target.host, "port": self.target.port} if self.target else {}
        seconds = None if self.seconds is None else round(self.seconds, 9)
        times = {"seconds": seconds, "warning": self.limits[0], "critical": self.limits[1]}
        found = {**where, "state": STATES[self.state], "text": self.text, "bytes": MESSAGE_BYTES, **times}
        return json_text(found)


def check(target: Target, warning: float | None = None, critical: float | None = None) -> Outcome:
    """Make one round trip within `target.timeout`, connection included, and return its outcome.

    `warning` and `critical` are in milliseconds: a round trip that takes longer has that state. A server that answers
    wrongly, or not at all, is critical.
    """
    limits = (warning, critical)
    deadline = time.monotonic() + target.timeout
    try:
        with connect(target) as sock:
            seconds = roundtrip(sock, os.urandom(MESSAGE_BYTES), deadline - time.monotonic())
    except ConnectError as error:
        return Outcome(CRITICAL, f"{error}", target, None, limits)
    except ServerError as error:
        return Outcome(CRITICAL, f"{target}: {error}", target, None, limits)
    state, exceeded = OK, None
    for worse, limit in ((WARNING, warning), (CRITICAL, critical)):
        if limit is not None and seconds * 1000 > limit:
            state, exceeded = worse, limit
    text = f"{MESSAGE_BYTES} bytes returned by {target} in {seconds * 1000:.3f} ms"
    if exceeded is not None:
        text += f", over {exceeded:g} ms"
    return Outcome(state, text, target, seconds, limits)
