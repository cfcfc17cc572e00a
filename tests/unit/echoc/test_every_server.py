"""Each mode ends, within its time-out, against a server that goes wrong in each way at each step."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from support.echo_servers import ACTS, AT_EOF
from support.wait import DEADLINE

if TYPE_CHECKING:
    from pathlib import Path

    from support.kinds import StartEchoc, StartServer

SIZE = 64  # of everything that is sent: a check has no other
STEPS = ("0", "40", str(SIZE), AT_EOF)
AT_THE_END = {"stall", "flood", "drip", "insert", "discard", "reset"}  # what can still be seen once all is back
MODES = {
    "stream": (),
    "verify": ("--verify", "-s", SIZE, "--seed", 1),
    "ping": ("--ping", "-s", SIZE, "-c", 2, "-i", 0),
    "check": ("--check",),
}
RIGHT, WRONG = 0, 1
CRITICAL = 2


def expected(mode: str, act: str, step: str) -> set[int]:
    """Return the exit statuses that are right: both if it depends on what the client sees first."""
    wrong = CRITICAL if mode == "check" else WRONG
    if step in {"0", "40"}:
        return {RIGHT} if (mode, act) == ("stream", "change") else {wrong}
    if mode == "check":
        return {RIGHT} if step == AT_EOF else {RIGHT, wrong}
    if mode == "ping":
        return {RIGHT} if step == AT_EOF else {wrong}
    if act in AT_THE_END:
        return {wrong}
    if act == "half-close" and step != AT_EOF:
        return {wrong} if mode == "verify" else {RIGHT, wrong}
    return {RIGHT}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("act", ACTS)
def test_each_mode_ends(start_echoc: StartEchoc, server: StartServer, tmp_path: Path, act: str, step: str) -> None:
    (tmp_path / "input").write_bytes(bytes(range(SIZE)))
    port = server(f"{act}@{step}")
    started = {}
    for mode, options in MODES.items():
        with open(tmp_path / "input", "rb") as file:
            started[mode] = start_echoc(
                *options, "--timeout", 0.3, "127.0.0.1", port, stdin=file, stdout=subprocess.DEVNULL
            )
    for mode, process in started.items():
        assert process.wait(timeout=DEADLINE) in expected(mode, act, step), mode
        assert b"Traceback" not in process.stderr.read(), mode


# A stream counts bytes and compares none; a few too many are seen only when the server owes nothing else.
# A server that returns a byte now and then is a slow one.
UNSEEN = {(False, "change"), (True, "change"), (True, "insert"), (True, "drip")}


@pytest.mark.parametrize(
    ("endless", "act"), [(endless, act) for endless in (False, True) for act in ACTS if (endless, act) not in UNSEEN]
)
def test_a_stream_ends_while_its_input_does_not(
    start_echoc: StartEchoc, server: StartServer, endless: bool, act: str
) -> None:
    with open("/dev/zero", "rb") as zero:
        source = {"stdin": zero} if endless else {}
        process = start_echoc("--timeout", 0.3, "127.0.0.1", server(f"{act}@40"), stdout=subprocess.DEVNULL, **source)
    if not endless:
        process.stdin.write(bytes(SIZE))
    assert process.wait(timeout=DEADLINE) == WRONG
    assert process.stderr.read().count(b"\n") == 1


@pytest.mark.parametrize("pattern", ["late-close", "abrupt"])
@pytest.mark.parametrize("act", ["change", "insert"])
def test_a_wrong_byte_is_named_in_a_pattern_that_does_not_half_close(
    start_echoc: StartEchoc, server: StartServer, act: str, pattern: str
) -> None:
    process = start_echoc(
        "--verify", "-s", "4k", "--pattern", pattern, "--timeout", 0.5, "127.0.0.1", server(f"{act}@40")
    )
    assert process.wait(timeout=DEADLINE) == WRONG
    words = {"change": b"byte 40: expected 0x", "insert": b"8 bytes inserted at offset 40 that were never sent"}
    assert words[act] in process.stdout.read()
