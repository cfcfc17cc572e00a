from __future__ import annotations

import posix
import time

import pytest

from echod.log import sinks
from support.processes import isolated


def offset():
    """Return the offset of local time from UTC, as lines have it."""
    return time.strftime("%z", time.localtime(0))


@pytest.mark.parametrize("named", [False, True], ids=["no variable", "TZ"])
def test_a_time_zone_that_has_changed_is_read_again(monkeypatch, named):
    """As musl's tzset(3) does, the stub reads a zone only if its name is another one than the last."""
    read: list[str | None] = []

    def check():
        names: dict[str, str | None] = {"TZ": "EST5" if named else None}
        monkeypatch.setattr(sinks, "environ", {b"TZ": b"EST5"} if named else {})
        monkeypatch.setattr(posix, "putenv", lambda _name, value: names.update(TZ=value.decode()))
        monkeypatch.setattr(posix, "unsetenv", lambda _name: names.update(TZ=None))

        def tzset():
            if not read or read[-1] != names["TZ"]:
                read.append(names["TZ"])

        monkeypatch.setattr(time, "tzset", tzset)
        tzset()
        before = len(read)
        sinks.read_time_zone()
        assert len(read) == before + 2
        assert read[-1] == ("EST5" if named else None)

    isolated(check)


def test_the_zone_of_the_variable_stays(monkeypatch):
    def check():
        monkeypatch.setenv("TZ", "EST5")
        monkeypatch.setattr(sinks, "environ", {b"TZ": b"EST5"})
        time.tzset()
        sinks.read_time_zone()
        assert offset() == "-0500"

    isolated(check)
