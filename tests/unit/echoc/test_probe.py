from __future__ import annotations

import json
import random
import re
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from echod.echoc import PATTERNS, ConnectError, Row, Target, verify
from echod.echoc.data import seeded
from echod.echoc.patterns import named
from echod.echoc.probe import Probe, Result
from support.wait import need, wait_for

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

    from support.kinds import Echoc, Eventually, StartEchoc, StartServer


WRONG = [
    ("flip", "1MiB", "changed", "byte 70001: expected 0x"),
    ("drop", "16KiB", "missing", "one byte missing at offset 70001"),
    ("drop_block", "random", "missing", "100 bytes missing at offset 70001"),
    ("duplicate", "1MiB", "duplicated", "one byte duplicated at offset 70001"),
    ("duplicate_block", "1MiB", "duplicated", "4096 bytes duplicated at offset 70001"),
    ("swap", "16KiB", "swapped", "bytes 70001 and 70002 swapped"),
    ("swap_blocks", "1MiB", "swapped", "blocks swapped: 4096 bytes came at offset 0 that belong 4096 behind"),
    ("insert", "1MiB", "inserted", "8 bytes inserted at offset 70001 that were never sent"),
    ("banner", "byte", "inserted", "16 bytes inserted at offset 0 that were never sent"),
    ("trailer", "half-close", "extra", "more than the 65536 bytes sent, beginning with 0x627965"),
    ("uppercase", "1MiB", "changed", "expected 0x"),
    ("stop", "1MiB", "stopped", "stopped echoing: 70001 of 1048576 bytes returned, then nothing for 0.5 s"),
    ("deaf", "late-reader", "stopped", "stopped echoing: 0 of "),
    ("never_close", "1MiB", "never-closes", "never closes: all 1048576 bytes returned, then nothing for 0.5 s"),
    ("never_close", "late-close", "never-closes", "never closes: all 1048576 bytes returned, then nothing for 0.5 s"),
    ("close_early", "late-close", "closed-early", "closed early: before the client half-closed, with 70001 of "),
    ("reset", "late-close", "reset", "reset, with 1000 of "),
    ("reset_at_end", "1MiB", "reset-at-end", "reset at the end: all 1048576 bytes returned, then a reset, not a close"),
    ("lose_after_half_close", "half-close", "lost", "lost "),
    ("mortal", "abrupt", "gone", "no longer serves after an abrupt close: "),
]


def faults(result: CompletedProcess[bytes]) -> dict[str, list[dict[str, Any]]]:
    report = json.loads(result.stdout)
    return {row["pattern"]: row["faults"] for row in report["patterns"]}


@pytest.mark.parametrize("case", WRONG, ids=[f"{row[0]}-{row[1]}" for row in WRONG])
def test_finds_and_names_what_is_wrong(echoc: Echoc, server: StartServer, case: tuple[str, str, str, str]) -> None:
    kind, pattern, fault, words = case
    timeout = 0.5 if fault in {"stopped", "never-closes"} else 30
    options = ("--json", "--seed", 1, "-s", "1MiB", "--timeout", timeout, "--pattern", pattern)
    result = echoc("--verify", *options, "127.0.0.1", server(kind))
    assert result.returncode == 1
    (found,) = faults(result)[pattern]
    assert found["kind"] == fault
    assert words in found["message"]


def test_late_reader_that_a_server_deadlocks_on(echoc: Echoc, server: StartServer) -> None:
    result = echoc("--verify", "--json", "--timeout", 0.5, "127.0.0.1", server("hang_on_write"))
    assert result.returncode == 1
    wrong = {pattern: found[0]["kind"] for pattern, found in faults(result).items() if found}
    assert wrong["late-reader"] == "late-reader-hangs"


def version_of_ncat() -> tuple[int, ...]:
    text = subprocess.run([need("ncat"), "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, re.findall(r"\d+", text)[:2]))


def test_ncat_before_7_96_loses_what_it_has_not_echoed_at_half_close(echoc: Echoc, foreign_server: StartServer) -> None:
    port = foreign_server("ncat", "-l", "-k", "-e", "/bin/cat", "127.0.0.1", "{}")
    result = echoc("--verify", "--json", "--timeout", 0.5, "--pattern", "half-close,late-reader", "127.0.0.1", port)
    found = faults(result)
    if version_of_ncat() >= (7, 96):
        assert found["half-close"] == []
        return
    assert result.returncode == 1
    assert found["half-close"][0]["kind"] == "lost"
    assert found["half-close"][0]["message"].startswith("lost ")
    assert found["late-reader"][0]["kind"] in {"lost", "late-reader-hangs"}  # whichever comes first


def test_socat_deadlocks_on_a_late_reader(echoc: Echoc, foreign_server: StartServer) -> None:
    port = foreign_server("socat", "TCP-LISTEN:{},bind=127.0.0.1,reuseaddr,fork", "PIPE")
    result = echoc(
        "--verify", "--json", "--timeout", 1, "-P", 3, "--pattern", "late-reader,half-close", "127.0.0.1", port
    )
    found = faults(result)
    assert result.returncode == 1
    assert {fault["kind"] for fault in found["late-reader"]} == {"late-reader-hangs"}
    assert found["half-close"] == []


def test_finds_nothing_wrong_with_a_right_server(echoc: Echoc, echo_server: tuple[str, int]) -> None:
    result = echoc("--verify", *echo_server)
    assert result.returncode == 0
    lines = result.stdout.decode().splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == [pattern.name for pattern in PATTERNS]
    assert all(line.endswith("  ok") for line in lines[1:-1])
    assert ": ok: " in lines[-1]


@pytest.mark.parametrize("connections", [10, pytest.param(50, marks=pytest.mark.campaign)])
def test_many_connections_at_once(echoc: Echoc, echo_server: tuple[str, int], connections: int) -> None:
    result = echoc("--verify", "--json", "-P", connections, "-s", "10k", *echo_server)
    assert result.returncode == 0
    report = json.loads(result.stdout)
    assert {row["connections"] for row in report["patterns"]} == {connections}
    assert report["patterns"][1]["bytes"] == connections * 10240


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_tiny_sizes(echoc: Echoc, echo_server: tuple[str, int], size: int) -> None:
    assert echoc("--verify", "-s", size, *echo_server).returncode == 0


def test_many_connections_wrong(server: StartServer, echoc: Echoc) -> None:
    # a seed, or the two bytes swapped would be equal on one connection of 256
    result = echoc("--verify", "--seed", 1, "-P", 8, "-s", "1MiB", "--pattern", "1MiB", "127.0.0.1", server("swap"))
    text = result.stdout.decode()
    assert "8 of 8 WRONG" in text
    assert text.count("connection ") == 5
    assert "and 3 more (--json lists all)" in text


def recorded(directory: Path, echoc: Echoc, port: int, seed: int) -> set[bytes]:
    assert (
        echoc("--verify", "-s", "50k", "-P", 2, "--seed", seed, "--pattern", "random", "127.0.0.1", port).returncode
        == 0
    )
    contents = set()
    for file in directory.glob("*.received"):
        contents.add(file.read_bytes())
        file.unlink()
    return contents


def test_a_seed_repeats_the_run(server: StartServer, echoc: Echoc, tmp_path: Path) -> None:
    port = server("record")
    first, again, other = (recorded(tmp_path, echoc, port, seed) for seed in (1, 1, 2))
    assert len(first) == 2  # no two connections send the same
    assert first == again
    assert not first & other


def test_prints_the_seed_that_repeats_the_run(server: StartServer, echoc: Echoc) -> None:
    port = server("flip")
    command = ("--verify", "--pattern", "1MiB", "-s", "1MiB", "127.0.0.1", port)
    text = echoc(*command).stdout.decode()
    seed = text.rpartition("--seed ")[2].rstrip(")\n")
    fault = next(line for line in text.splitlines() if "expected" in line)
    assert fault in echoc("--seed", seed, *command).stdout.decode()


def test_refused(echoc: Echoc, unused_port: int) -> None:
    result = echoc("--verify", "127.0.0.1", unused_port)
    assert result.returncode == 3
    assert result.stderr.decode().count("\n") == 1


def test_out_of_descriptors(echo_server: tuple[str, int]) -> None:
    host, port = echo_server
    command = f"ulimit -n 20; exec {shlex.quote(sys.executable)} -m echod.echoc --verify -s 1MiB -P 50 {host} {port}"
    result = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (4, b"echoc: system: Too many open files\n")


def test_interrupt_leaves_nothing_behind(start_echoc: StartEchoc, server: StartServer, eventually: Eventually) -> None:
    process = start_echoc("--verify", "-P", 5, "-s", "1MiB", "--timeout", 60, "127.0.0.1", server("deaf"))
    me = psutil.Process(process.pid)
    eventually(lambda: len(me.children(recursive=True)) == 10)
    children = me.children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert process.stderr.read() == b"echoc: interrupted\n"
    eventually(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children))


def test_as_a_function(echo_server: tuple[str, int], server: StartServer) -> None:
    host, port = echo_server
    rows: list[Row] = []
    report = verify(Target(host, port), size=1 << 16, parallel=2, on_row=rows.append)
    assert report.ok
    assert rows == report.rows
    wrong = verify(Target(host, server("drop"), timeout=1), size=1 << 20, patterns=PATTERNS[2:3], seed=1)
    assert not wrong.ok
    assert [(number, fault.kind) for number, fault in wrong.rows[0].faults] == [(1, "missing")]


def test_as_a_function_refused(unused_port: int) -> None:
    with pytest.raises(ConnectError, match="refused"):
        verify(Target("127.0.0.1", unused_port))


def test_what_will_be_moved_is_said_first(start_echoc: StartEchoc, server: StartServer) -> None:
    for options in ((), ("--json",)):
        process = start_echoc("--verify", "-s", "2GiB", "--pattern", "1MiB", *options, "127.0.0.1", server("deaf"))
        assert process.stderr.readline() == (
            b"echoc: will send and read back 2GiB (1 pattern of 1 connection); use -s or -P to reduce this\n"
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert process.stderr.read() == b"echoc: interrupted\n"


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
