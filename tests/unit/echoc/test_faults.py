from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from echod.echoc import faults
from echod.echoc.faults import EchoError, Fault, LocalError, ServerError, SinkClosedError

MANUAL = Path(__file__).parents[3] / "man" / "echoc.1"
RESET = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
STOPPED = faults.silent(3, 9, ended=False, timeout_s=0.5)
EACH = [
    (
        faults.closed_early(1, 2),
        "closed-early",
        "closed early: before the client half-closed, with 1 of 2 bytes returned",
        1,
    ),
    (faults.broken(1, 2, ended=False, error=RESET), "reset", "reset, with 1 of 2 bytes returned", 1),
    (faults.broken(2, 2, ended=False, error=RESET), "reset", "reset, with 2 of 2 bytes returned", 2),
    (faults.broken(1, 2, ended=True, error=RESET), "reset", "reset, with 1 of 2 bytes returned", 1),
    (
        faults.broken(2, 2, ended=True, error=RESET),
        "reset-at-end",
        "reset at the end: all 2 bytes returned, then a reset, not a close",
        2,
    ),
    (
        faults.broken(1, 2, ended=True, error=OSError(errno.EHOSTUNREACH, "No route to host")),
        "broken",
        "connection broke, with 1 of 2 bytes returned: No route to host",
        1,
    ),
    (
        faults.silent(9, 9, ended=True, timeout_s=0.5),
        "never-closes",
        "never closes: all 9 bytes returned, then nothing for 0.5 s",
        9,
    ),
    (STOPPED, "stopped", "stopped echoing: 3 of 9 bytes returned, then nothing for 0.5 s", 3),
    (
        faults.late_reader_hangs(STOPPED),
        "late-reader-hangs",
        "late reader hangs: it stopped echoing: 3 of 9 bytes returned, then nothing for 0.5 s",
        3,
    ),
    (faults.count_differs(9, 7), "extra", "2 bytes more than the 7 sent", 7),
    (faults.count_differs(7, 9), "lost", "lost the last 2 of 9 bytes after half-close", 7),
    (faults.count_differs(0, 9), "lost", "lost everything (9 bytes) after half-close", 0),
]


@pytest.mark.parametrize(("fault", "kind", "message", "offset"), EACH)
def test_each_has_its_kind_its_words_and_its_offset(fault: Fault, kind: str, message: str, offset: int) -> None:
    assert fault == Fault(kind, message, offset)


def test_the_right_number_of_bytes_is_no_fault() -> None:
    assert faults.count_differs(7, 7) is None


def test_each_kind_is_in_the_manual() -> None:
    listed = {line.removeprefix(".It Cm ") for line in MANUAL.read_text().splitlines() if line.startswith(".It Cm ")}
    assert {kind for _, kind, *_ in EACH} <= listed


MANUAL = Path(__file__).parents[3] / "man" / "echoc.1"
KINDS = [kind for kind in vars(faults).values() if isinstance(kind, type) and issubclass(kind, EchoError)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_exit_status_is_in_the_manual(kind: type[EchoError]) -> None:
    section = MANUAL.read_text().partition(".Sh EXIT STATUS")[2].partition(".Sh ")[0]
    assert re.search(rf"^\.It (?:Li )?{kind.code}\b", section, re.MULTILINE)


def test_a_server_error_says_what_its_fault_says() -> None:
    fault = Fault("reset", "reset, with 1 of 2 bytes returned", 1)
    assert (str(ServerError(fault)), ServerError(fault).fault) == (fault.message, fault)


def test_who_handles_a_local_error_handles_a_closed_output() -> None:
    assert issubclass(SinkClosedError, LocalError)
