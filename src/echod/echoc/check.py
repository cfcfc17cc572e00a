"""One verified round trip, reported as the Monitoring Plugins guidelines require."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from enum import IntEnum

from echod.echoc.connect import Target, connect
from echod.echoc.faults import ConnectError, ServerError
from echod.echoc.roundtrip import roundtrip

SIZE = 64


class State(IntEnum):
    """What a monitoring system makes of the exit status."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True)
class Outcome:
    """What a check has found: a text for people; `seconds` of the round trip, None where there was none."""

    state: State
    text: str
    target: Target | None = None
    seconds: float | None = None
    warning: float | None = None
    critical: float | None = None

    def line(self) -> str:
        """Return the line that a plugin prints, with performance data; a bar would begin them."""
        text = f"ECHO {self.state.name} - {self.text.replace('|', '/')}"
        if self.seconds is None or self.target is None:
            return text
        limits = ["" if ms is None else f"{ms / 1000:g}" for ms in (self.warning, self.critical)]
        return f"{text} | time={self.seconds:.6f}s;{';'.join(limits)};0;{self.target.timeout:g}"

    def json(self) -> str:
        """Return the same as one JSON object; times in seconds, null where there is none."""
        where = {"host": self.target.host, "port": self.target.port} if self.target else {}
        times = {
            "seconds": None if self.seconds is None else round(self.seconds, 9),
            "warning": None if self.warning is None else self.warning / 1000,
            "critical": None if self.critical is None else self.critical / 1000,
        }
        return json.dumps({**where, "state": self.state.name, "text": self.text, "bytes": SIZE, **times}, indent=2)


def check(target: Target, warning: float | None = None, critical: float | None = None) -> Outcome:
    """Make one round trip, and return what it comes to.

    `warning` and `critical` are in milliseconds: a round trip that takes longer is worth that state. A server that
    is wrong, silent, or not there is critical.
    """
    try:
        with connect(target) as sock:
            seconds = roundtrip(sock, os.urandom(SIZE), target.timeout)
    except ConnectError as error:
        return Outcome(State.CRITICAL, f"{error}", target, None, warning, critical)
    except ServerError as error:
        return Outcome(State.CRITICAL, f"{target}: {error}", target, None, warning, critical)
    state, limit = State.OK, None
    for worse, threshold in ((State.WARNING, warning), (State.CRITICAL, critical)):
        if threshold is not None and seconds * 1000 > threshold:
            state, limit = worse, threshold
    text = f"{SIZE} bytes returned by {target} in {seconds * 1000:.3f} ms"
    if limit is not None:
        text += f", over {limit:g} ms"
    return Outcome(state, text, target, seconds, warning, critical)
