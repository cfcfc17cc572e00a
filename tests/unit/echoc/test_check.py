from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.daemon import SOURCE
from support.wait import need_localhost

if TYPE_CHECKING:
    from support.kinds import Echoc, StartServer


def check(echoc: Echoc, *arguments: object) -> tuple[int, str]:
    result = echoc("--check", *arguments)
    assert result.stderr == b""
    text = result.stdout.decode()
    assert text.count("\n") == 1
    return result.returncode, text.rstrip("\n")


def test_ok_with_performance_data(echoc: Echoc, echo_server: tuple[str, int]) -> None:
    code, line = check(echoc, "-w", 30000, "-c", 50000, "--timeout", 60, *echo_server)
    assert code == 0
    assert re.fullmatch(
        r"ECHO OK - 64 bytes returned by 127\.0\.0\.1 port \d+ in \d+\.\d{3} ms \| time=\d+\.\d{6}s;30;50;0;60", line
    )


def test_without_thresholds(echoc: Echoc, echo_server: tuple[str, int]) -> None:
    code, line = check(echoc, *echo_server)
    assert code == 0
    assert line.endswith("s;;;0;10")


@pytest.mark.parametrize(
    ("thresholds", "code", "word"), [(("-w", 0, "-c", 50000), 1, "WARNING"), (("-w", 0, "-c", 0), 2, "CRITICAL")]
)
def test_too_slow(
    echoc: Echoc, echo_server: tuple[str, int], thresholds: tuple[object, ...], code: int, word: str
) -> None:
    got, line = check(echoc, *thresholds, *echo_server)
    assert got == code
    assert line.startswith(f"ECHO {word} - 64 bytes returned by ")
    assert ", over 0 ms | time=" in line


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("uppercase", "expected 0x"),
        ("deaf", "stopped echoing: 0 of 64 bytes returned, then nothing for 0."),
        ("banner", "expected 0x"),
        ("reset", None),
    ],
)
def test_wrong_is_critical(echoc: Echoc, server: StartServer, kind: str, words: str) -> None:
    code, line = check(echoc, "--timeout", 0.5, "127.0.0.1", server(kind))
    if words is None:  # its reset may overtake the echo, or not: it did echo
        assert code in {0, 2}
        return
    assert code == 2
    assert line.startswith("ECHO CRITICAL - 127.0.0.1 port ")
    assert words in line


def test_refused_is_critical(echoc: Echoc, unused_port: int) -> None:
    code, line = check(echoc, "127.0.0.1", unused_port)
    assert code == 2
    assert line == f"ECHO CRITICAL - 127.0.0.1 port {unused_port}: 127.0.0.1: refused: no process listens there"


def test_unknown_name_is_critical(echoc: Echoc) -> None:
    code, line = check(echoc, "no-such-host.invalid")
    assert code == 2
    assert line.startswith("ECHO CRITICAL - no-such-host.invalid: ")


@pytest.mark.parametrize("arguments", [("-w", "x", "localhost"), ("-w", 2, "-c", 1, "localhost"), ()])
def test_usage_is_unknown(echoc: Echoc, arguments: tuple[object, ...]) -> None:
    code, line = check(echoc, *arguments)
    assert code == 3
    assert line.startswith("ECHO UNKNOWN - usage: ")


def check_json(echoc: Echoc, *arguments: object) -> tuple[int, dict[str, object]]:
    result = echoc("--check", "--json", *arguments)
    assert result.stderr == b""
    return result.returncode, json.loads(result.stdout)


def test_json_has_what_the_line_has(echoc: Echoc, echo_server: tuple[str, int]) -> None:
    code, found = check_json(echoc, "-w", 30000, *echo_server)
    seconds = found.pop("seconds")
    assert isinstance(seconds, float)
    text = f"64 bytes returned by 127.0.0.1 port {echo_server[1]} in {seconds * 1000:.3f} ms"
    assert code == 0
    assert found == {
        "host": "127.0.0.1",
        "port": echo_server[1],
        "state": "OK",
        "text": text,
        "bytes": 64,
        "warning": 30.0,
        "critical": None,
    }


def test_json_of_a_server_that_is_not_there(echoc: Echoc, unused_port: int) -> None:
    code, found = check_json(echoc, "127.0.0.1", unused_port)
    assert (code, found["state"], found["seconds"]) == (2, "CRITICAL", None)
    assert "refused" in str(found["text"])


def test_json_of_bad_usage(echoc: Echoc) -> None:
    code, found = check_json(echoc, "-w", "x", "localhost")
    assert (code, found["state"]) == (3, "UNKNOWN")
    assert str(found["text"]).startswith("usage: ")


# Each takes milliseconds to import. A probe runs every few seconds on many machines.
HEAVY = """contextlib ctypes dataclasses inspect json pickle random shutil signal tempfile threading typing
    encodings.idna
    echod.echoc.duplex echod.echoc.patterns echod.echoc.probe echod.echoc.progress echod.echoc.transfer"""
PROGRAM = """
import sys
sys.path.insert(0, {source!r})
from echod.echoc.cli import main
code = main()
print(code, *sys.modules)
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_check_imports_little(echo_server: tuple[str, int], host: str) -> None:
    if host == "localhost":
        need_localhost()
    program = PROGRAM.format(source=str(SOURCE.parent))
    words = ["-w", "5000", "-c", "9000", "--timeout", "20", f"{host}:{echo_server[1]}"]
    done = subprocess.run(  # without site, which imports what other packages tell it to
        [sys.executable, "-I", "-S", "-c", program, "--check", *words], capture_output=True, text=True, check=True
    )
    line, modules = done.stdout.splitlines()
    assert line.startswith("ECHO OK")
    assert modules.split()[0] == "0"
    assert set(modules.split()).isdisjoint(HEAVY.split())


def test_a_check_has_one_time_out_for_connection_and_answer(server: StartServer, echoc: Echoc) -> None:
    code, line = check(echoc, "--timeout", 0.5, "127.0.0.1", server("slow"))
    assert code == 2
    assert "stopped echoing: " in line
