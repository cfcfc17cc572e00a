from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from echod.echoc import PATTERNS, Target
from echod.echoc.data import seeded
from echod.echoc.patterns import named
from echod.echoc.probe import Probe, Result
from support.wait import wait_for

if TYPE_CHECKING:
    from support.kinds import StartServer

DATA = seeded(1)
SIZE = 1 << 17


def probed(port: int, pattern: str, timeout: float = 30, size: int = SIZE) -> Result:
    return Probe(Target("127.0.0.1", port, timeout), named(pattern)[0], DATA, size, random.Random(1)).run()


@pytest.mark.parametrize("pattern", [pattern.name for pattern in PATTERNS])
def test_a_right_server_has_no_fault(echo_server: tuple[str, int], pattern: str) -> None:
    result = probed(echo_server[1], pattern)
    assert (result.fault, result.connected) == (None, True)
    (chosen,) = named(pattern)
    expected = chosen.size(SIZE) * chosen.tries
    assert expected // 2 <= result.size <= expected if pattern == "abrupt" else result.size == expected


@pytest.mark.parametrize(
    ("kind", "fault", "good"),
    [("flip", "changed", 70001), ("drop_block", "missing", 70001), ("trailer", "extra", SIZE)],
)
def test_only_what_came_in_order_is_counted(server: StartServer, kind: str, fault: str, good: int) -> None:
    result = probed(server(kind), "16KiB")
    assert result.fault
    assert (result.fault.kind, result.fault.offset, result.size) == (fault, good, good)


def test_silence_is_a_deadlock_only_for_a_late_reader(server: StartServer) -> None:
    port = server("stop")
    for pattern, kind in (("late-reader", "late-reader-hangs"), ("1MiB", "stopped")):
        result = probed(port, pattern, timeout=0.3, size=1 << 20)
        assert result.fault
        assert result.fault.kind == kind


def test_nothing_listens(unused_port: int) -> None:
    result = probed(unused_port, "byte")
    assert result.fault
    assert (result.connected, result.size, result.fault.kind) == (False, 0, "refused")
    assert result.fault.message.startswith("cannot connect: 127.0.0.1 port ")


def test_a_server_that_an_abrupt_close_ends(server: StartServer) -> None:
    def found() -> Result | None:
        result = probed(server("mortal"), "abrupt")
        return result if result.fault else None

    result = wait_for(found, "a server that ends before it is asked again")
    assert (result.fault.kind, result.connected) == ("gone", True)
