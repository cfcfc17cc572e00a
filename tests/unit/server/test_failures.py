from __future__ import annotations

import errno
from typing import Any

import pytest

from echod.common.errors import BAD_CONFIG, FAILED, NOT_PERMITTED, ConfigError, EchodError
from echod.server import failures
from echod.server.failures import Step, attempt, pause, reason
from support.sockets import memory_log


def failing(error):
    def call(*_args):
        raise error

    return call


ERRORS = [OSError(errno.EIO, "Input/output error"), MemoryError()]


def test_an_attempt_that_succeeds_says_so():
    log, lines = memory_log()
    called: list[Any] = []
    assert attempt(log, "close", called.append, 7)
    assert called == [7]
    assert lines.texts == []


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_an_attempt_that_fails_is_logged_and_no_more(error):
    log, lines = memory_log()
    assert not attempt(log, "close", failing(error), 7)
    assert lines.texts == [f"error call=close why={reason(error)!r}"]


def test_attempts_that_fail_again_and_again_are_logged_at_a_limited_rate():
    log, lines = memory_log()
    for _ in range(100):
        attempt(log, "close", failing(ERRORS[0]))
        attempt(log, "tune", failing(ERRORS[0]))
    assert len(lines.texts) == 2
    log.limits.flush(log.write, float("inf"))
    assert [text.rpartition(" ")[2] for text in lines.texts[2:]] == ["left_out=98"] * 2


def test_an_attempt_hides_no_bug():
    log, _ = memory_log()
    with pytest.raises(ZeroDivisionError):
        attempt(log, "close", failing(ZeroDivisionError()))


@pytest.mark.parametrize("error", [*ERRORS, OSError(errno.EINVAL, "Invalid argument")], ids=repr)
def test_what_fails_and_stays_so_is_a_warning_and_a_pause(error, monkeypatch):
    log, lines = memory_log("log_level=warning")
    pauses: list[float] = []
    monkeypatch.setattr(failures, "time", type("Time", (), {"sleep": pauses.append}))
    assert pause(log, "poll", error) == []
    assert pauses == [failures.PAUSE]
    assert lines.texts == [f"error call=poll why={reason(error)!r}"]


def test_a_reason_is_in_the_words_of_the_system():
    assert reason(OSError(errno.EMFILE, "Too many open files")) == "Too many open files"
    assert reason(MemoryError()) == "MemoryError"
    assert reason(OSError()) == "OSError"


class Resource:
    """What a step opens; it notes in `closed` that it was closed."""

    def __init__(self, closed, error=None):
        self.closed, self.error = closed, error

    def close(self):
        self.closed.append(self)
        if self.error:
            raise self.error


def step_that_fails(error, *opened):
    with Step("reload") as step:
        for resources in opened:
            step.opened(*resources)
        raise error


def test_a_step_that_succeeds_closes_nothing():
    closed: list[Resource] = []
    with Step("reload") as step:
        step.opened(Resource(closed))
    assert closed == []


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        (OSError(errno.EIO, "Input/output error"), "reload: Input/output error", FAILED),
        (PermissionError(errno.EACCES, "Permission denied", "/log"), "reload: /log: Permission denied", NOT_PERMITTED),
        (MemoryError(), "reload: out of memory", FAILED),
        (ConfigError("file:1: bad"), "file:1: bad", BAD_CONFIG),
    ],
)
def test_a_step_that_fails_closes_all_it_had_opened_and_says_why(error, message, code):
    closed: list[Resource] = []
    first, second, third = Resource(closed), Resource(closed, OSError(errno.EIO, "close")), Resource(closed)
    with pytest.raises(EchodError) as caught:
        step_that_fails(error, [first], [second, third])
    assert closed == [third, second, first]
    assert (str(caught.value), caught.value.code) == (message, code)


def test_a_bug_in_a_step_is_raised_as_it_is_with_all_closed():
    closed: list[Resource] = []
    with pytest.raises(ZeroDivisionError):
        step_that_fails(ZeroDivisionError(), [Resource(closed)])
    assert len(closed) == 1
