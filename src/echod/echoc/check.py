"""One verified round trip, reported as the Monitoring Plugins guidelines require."""

from __future__ import annotations

import os
from enum import IntEnum

from echod.echoc.connect import Target, connect
from echod.echoc.errors import ConnectError, ServerError
from echod.echoc.roundtrip import roundtrip

SIZE = 64


class State(IntEnum):
    """What a monitoring system makes of the exit status."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


def line(state: State, text: str) -> str:
    """Return the line that a plugin prints; a bar would begin the performance data."""
    return f"ECHO {state.name} - {text.replace('|', '/')}"


def check(target: Target, warning: float | None = None, critical: float | None = None) -> tuple[State, str]:
    """Make one round trip, and return a state and the plugin's line, with performance data in seconds.

    `warning` and `critical` are in milliseconds: a round trip that takes longer is worth that state. A server that
    is wrong, silent, or not there is critical.
    """
    try:
        with connect(target) as sock:
            seconds = roundtrip(sock, os.urandom(SIZE), target.timeout)
    except ConnectError as error:
        return State.CRITICAL, line(State.CRITICAL, f"{error}")
    except ServerError as error:
        return State.CRITICAL, line(State.CRITICAL, f"{target}: {error}")
    state, limit = State.OK, None
    for worse, threshold in ((State.WARNING, warning), (State.CRITICAL, critical)):
        if threshold is not None and seconds * 1000 > threshold:
            state, limit = worse, threshold
    text = f"{SIZE} bytes returned by {target} in {seconds * 1000:.3f} ms"
    if limit is not None:
        text += f", over {limit:g} ms"
    return state, line(state, text) + f" | {_performance(seconds, warning, critical, target.timeout)}"


def _performance(seconds: float, warning: float | None, critical: float | None, timeout: float) -> str:
    limits = ["" if ms is None else f"{ms / 1000:g}" for ms in (warning, critical)]
    return f"time={seconds:.6f}s;{';'.join(limits)};0;{timeout:g}"
