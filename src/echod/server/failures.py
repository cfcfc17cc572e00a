"""What can fail, and what follows: the mechanisms for two of the three kinds of system call in the server.

essential to a client   fork, the child's read and write   that client ends; caught in `acceptor` and `session`
essential to a step     what a start or a reload opens     `Step`: the step fails as a whole, nothing stays open
not essential           closing, telling, tuning           `attempt`: logged at a limited rate, and on
"""

from __future__ import annotations

import time

from echod.common.errors import FAILED, EchodError, from_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Protocol, Self

    from echod.log.log import Log

    class Closable(Protocol):
        """What a step may have opened."""

        def close(self) -> None:
            """Close it."""


WARNING = 1  # of `log`
PAUSE = 0.1  # seconds


def attempt(log: Log, what: str, call: Callable[..., Any], *args: Any) -> bool:
    """Make a call that the daemon can do without; `what` names it in the log. False when it failed."""
    try:
        call(*args)
    except (OSError, MemoryError) as error:
        report(log, what, error)
        return False
    return True


def report(log: Log, what: str, error: Exception) -> None:
    """Log the failure of such a call: `attempt` without the call, for what is done for each client."""
    log.limited(WARNING, what, "", f"error call={what} why={reason(error)!r}")


def pause(log: Log, what: str, error: BaseException) -> list[Any]:
    """Log an error and sleep for PAUSE, so that one that stays makes no busy loop. Returns nothing that is ready."""
    log.limited(WARNING, what, "", f"error call={what} why={reason(error)!r}")
    time.sleep(PAUSE)
    return []


def reason(error: BaseException) -> str:
    """Return why a call failed, in the words of strerror(3)."""
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__


class Step:
    """A `with` block that succeeds as a whole, or closes what was `opened` in it and raises EchodError."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._opened: list[Closable] = []

    def opened(self, *resources: Closable) -> None:
        """Have these closed should the step fail."""
        self._opened += resources

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is None:
            return
        for resource in reversed(self._opened):
            try:
                resource.close()
            except OSError:
                continue  # it is gone all the same (close(2))
        if isinstance(error, OSError):
            raise from_os_error(self._what, error) from None
        if isinstance(error, MemoryError):
            raise EchodError(f"{self._what}: out of memory", FAILED) from None
