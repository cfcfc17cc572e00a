from __future__ import annotations

import fcntl
import random
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

    from support.kinds import Echoc, StartEchoc, StartServer


def one_line(result: CompletedProcess[bytes], *parts: str) -> bool:
    text = result.stderr.decode()
    assert text.startswith("echoc: ")
    assert text.count("\n") == 1
    for part in parts:
        assert part in text
    return True


@pytest.mark.parametrize("size", [0, 1, 4096, 100_003, 8 << 20])
def test_returns_what_was_sent(echoc: Echoc, echo_server: tuple[str, int], size: int) -> None:
    data = random.Random(size).randbytes(size)
    result = echoc(*echo_server, input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == data


def test_sends_a_file_from_where_it_stands(echoc: Echoc, echo_server: tuple[str, int], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"skipped kept")
    with open(tmp_path / "file", "rb", buffering=0) as file:
        file.seek(8)
        assert echoc(*echo_server, stdin=file).stdout == b"kept"


def test_waits_for_its_own_late_reader(start_echoc: StartEchoc, echo_server: tuple[str, int], tmp_path: Path) -> None:
    data = random.Random(1).randbytes(32 << 20)
    (tmp_path / "data").write_bytes(data)
    with open(tmp_path / "data", "rb") as file:
        process = start_echoc(*echo_server, "--timeout", 0.3, stdin=file)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=2)  # it is stuck by now, and not for the server's fault
        out = b"".join(iter(lambda: process.stdout.read(1 << 20), b""))
    assert out == data
    assert process.wait() == 0


def test_slow_is_not_silent(echoc: Echoc, server: StartServer) -> None:
    result = echoc("--timeout", 2, "127.0.0.1", server("slow"), input=b"gently")  # takes three seconds
    assert (result.returncode, result.stdout) == (0, b"gently")


@pytest.mark.parametrize(
    ("kind", "finding"),
    [
        ("close_early", "closed early: before the client half-closed, with 70001 of 80000 bytes returned"),
        ("reset", "reset, with 1000 of 80000 bytes returned"),
        ("stop", "stopped echoing: 70001 of 80000 bytes returned"),
        ("deaf", "stopped echoing: 0 of 80000 bytes returned"),
    ],
)
def test_fails_while_input_is_still_open(start_echoc: StartEchoc, server: StartServer, kind: str, finding: str) -> None:
    process = start_echoc("--timeout", 0.5, "127.0.0.1", server(kind), stdout=subprocess.DEVNULL)
    fcntl.fcntl(process.stdin, fcntl.F_SETPIPE_SZ, 1 << 17)  # all of it in one read, before the server has any of it
    assert process.stdin.write(bytes(80_000)) == 80_000
    assert process.wait(timeout=60) == 1
    assert finding in process.stderr.read().decode()


@pytest.mark.parametrize(
    ("kind", "finding"),
    [
        ("drop", "lost the last 1 of 80000 bytes after half-close"),
        ("duplicate", "one byte more than the 80000 sent"),
        ("trailer", "3 bytes more than the 80000 sent"),
        ("never_close", "never closes: all 80000 bytes returned"),
        ("reset_at_end", "reset at the end: all 80000 bytes returned"),
    ],
)
def test_fails_after_the_end_of_input(echoc: Echoc, server: StartServer, kind: str, finding: str) -> None:
    result = echoc("--timeout", 0.5, "127.0.0.1", server(kind), input=bytes(80_000))
    assert result.returncode == 1
    one_line(result, "127.0.0.1 port ", finding)


def test_refused(echoc: Echoc, unused_port: int) -> None:
    result = echoc("127.0.0.1", unused_port)
    assert result.returncode == 3
    assert one_line(result, f"127.0.0.1 port {unused_port}", "refused")


@pytest.mark.parametrize("name", ["no-such-host.invalid", "a..b", "x" * 70 + ".invalid"])
def test_name_that_does_not_resolve(echoc: Echoc, name: str) -> None:
    result = echoc(name)
    assert result.returncode == 3
    assert one_line(result, name)


def test_reader_that_goes_away(start_echoc: StartEchoc, echo_server: tuple[str, int]) -> None:
    with open("/dev/zero", "rb") as zero:
        process = start_echoc(*echo_server, stdin=zero)
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(timeout=60) == 141
    assert process.stderr.read().startswith(b"echoc: output: broken pipe, after ")


def test_full_disk(echo_server: tuple[str, int], start_echoc: StartEchoc) -> None:
    with open("/dev/full", "wb") as full:
        process = start_echoc(*echo_server, stdout=full)
        process.stdin.write(b"x")
        assert process.wait(timeout=60) == 4
    assert process.stderr.read() == b"echoc: output: No space left on device\n"


def test_input_that_cannot_be_read(echoc: Echoc, echo_server: tuple[str, int], tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as write_only:
        result = echoc(*echo_server, stdin=write_only)
    assert result.returncode == 4
    assert one_line(result, "input: Bad file descriptor")
