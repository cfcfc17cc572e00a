from __future__ import annotations

import re
from pathlib import Path

import pytest

from echod.echoc import errors
from echod.echoc.errors import EchoError, Fault, LocalError, ServerError, SinkClosedError

MANUAL = Path(__file__).parents[3] / "man" / "echoc.1"
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EchoError)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_exit_status_is_in_the_manual(kind: type[EchoError]) -> None:
    section = MANUAL.read_text().partition(".Sh EXIT STATUS")[2].partition(".Sh ")[0]
    assert re.search(rf"^\.It (?:Li )?{kind.code}\b", section, re.MULTILINE)


def test_a_server_error_says_what_its_fault_says() -> None:
    fault = Fault("reset", "reset, with 1 of 2 bytes returned", 1)
    assert (str(ServerError(fault)), ServerError(fault).fault) == (fault.message, fault)


def test_who_handles_a_local_error_handles_a_closed_output() -> None:
    assert issubclass(SinkClosedError, LocalError)
