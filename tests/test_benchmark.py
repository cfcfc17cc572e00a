"""The benchmark's own tests: it measures what is right, and notices what is wrong."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from support.wait import need, wait_for

BENCHMARKS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "benchmarks")
LIBRARY = "/usr/include/stdio.h"
LOAD = ("main.c", "exchanges.c", "slam.c", "hold.c", "engine.c", "util.c")


def compiled(directory, name, *sources):
    path = directory / name
    paths = [os.path.join(BENCHMARKS, source) for source in sources]
    need(LIBRARY)
    subprocess.run([need("cc"), "-O2", "-Wall", "-Wextra", "-Werror", "-o", path, *paths], check=True)
    return str(path)


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    program = compiled(tmp_path_factory.mktemp("load"), "load", *LOAD)

    def run(*arguments, stdin=""):
        command = [program, *map(str, arguments)]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture(scope="module")
def textbook(tmp_path_factory):
    program = compiled(tmp_path_factory.mktemp("textbook"), "textbook", "textbook.c")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with subprocess.Popen([program, str(port)]) as server:
        try:
            while server.poll() is None:
                with contextlib.suppress(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
            yield port
        finally:
            server.terminate()


@contextlib.contextmanager
def wrong_server(answer):
    """A server that gives each connection to answer(), one after the other, until the block is left."""

    def serve():
        with contextlib.suppress(OSError):  # the listener was shut down
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(ConnectionError):
                    answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def flips_a_byte(connection):
    seen = 0
    while data := bytearray(connection.recv(65536)):
        if seen <= 40 < seen + len(data):
            data[40 - seen] ^= 1
        seen += len(data)
        connection.sendall(data)


def drops_a_block(connection):
    """A fault that looks like order: all that follows is right, but 4 KiB too early."""
    seen = 0
    while data := connection.recv(4096, socket.MSG_WAITALL):
        if seen != 4096:
            connection.sendall(data)
        seen += len(data)


def says_more(connection):
    while data := connection.recv(65536):
        connection.sendall(data + b"!")


def closes_early(connection):
    connection.sendall(connection.recv(64)[:10])
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(65536):
        pass


def never_ends(connection):
    """Echoes, and greets the client's end with a farewell."""
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.sendall(b"bye")


@pytest.mark.parametrize(
    "mode",
    [
        ["connect"],
        ["connect", "-c", 8],
        ["pingpong", "-c", 8],
        ["pingpong", "-s", 16384],
        ["bulk", "-c", 4],
        ["bulk", "-w", 99],
    ],
)
def test_load_measures_an_echo_server(load, textbook, mode):
    done = load(*mode, "-t", 0.2, "127.0.0.1", textbook)
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert answer["mode"] == mode[0]
    assert answer["rate"] > 0
    if mode[0] != "bulk":
        assert 0 < answer["p50"] <= answer["p99"]


def answers_late(connection):
    time.sleep(0.1)
    connection.sendall(connection.recv(64))


@pytest.mark.parametrize("mode", ["connect", "pingpong"])
def test_load_waits_for_the_first_answer_of_a_slow_server(load, mode):
    with wrong_server(answers_late) as port:
        done = load(mode, "-t", 0.02, "127.0.0.1", port)
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert answer["count"] == 1
    assert answer["p50"] > 100_000
    assert answer["rate"] < 10


def test_load_waits_between_connections(load, textbook):
    answer = json.loads(load("connect", "-t", 0.5, "-i", 0.05, "127.0.0.1", textbook).stdout)
    assert 1 <= answer["count"] <= 11


def test_who_would_have_waited_meanwhile_counts_as_well(load):
    with wrong_server(answers_late) as port:  # by 100 ms: one that begins 20 ms later waits for 80, and so on
        answer = json.loads(load("connect", "-t", 0.02, "-i", 0.02, "127.0.0.1", port).stdout)
    assert answer["count"] == 1
    assert answer["p50"] < answer["p99"]


def test_slam_connects_and_closes_and_sends_nothing(load):
    received = []
    with wrong_server(lambda connection: received.append(connection.recv(1))) as port:
        answer = json.loads(load("slam", "-t", 0.1, "127.0.0.1", port).stdout)
        wait_for(lambda: received, "a client")
    assert answer["count"] > 0
    assert set(received) == {b""}


def test_bulk_of_so_many_bytes_verifies_each(load, textbook):
    answer = json.loads(load("bulk", "-c", 2, "-s", 5_000_000, "127.0.0.1", textbook).stdout)
    assert answer["bytes"] == 10_000_000


def test_hold_keeps_what_it_opened_and_adds(load, textbook):
    done = load("hold", "-t", 20, "127.0.0.1", textbook, stdin="20\n20\n150\n")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(answer["wanted"], answer["held"], answer["stopped"]) for answer in answers] == [
        (20, 20, ""),
        (20, 20, ""),
        (150, 150, ""),
    ]
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("answer", "mode", "complaint"),
    [
        (flips_a_byte, ["connect"], "wrong byte: number 40 "),
        (flips_a_byte, ["pingpong"], "wrong byte: number 40 "),
        (flips_a_byte, ["bulk"], "wrong byte: number 40 "),
        (flips_a_byte, ["hold"], "wrong byte: number 40 "),
        (drops_a_block, ["bulk", "-s", 1_000_000], "wrong byte: number 4096 "),
        (says_more, ["connect"], "more came back than were sent"),
        (never_ends, ["pingpong"], "more came back than were sent"),
        (closes_early, ["connect"], "closed by the server before all had come back"),
        (closes_early, ["pingpong"], "closed by the server before all had come back"),
    ],
)
def test_load_notices_a_server_that_is_wrong(load, answer, mode, complaint):
    with wrong_server(answer) as port:
        done = load(*mode, "-t", 0.2, "127.0.0.1", port, stdin="1\n")
    assert done.returncode == 1
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_hold_tells_how_many_a_server_takes(load):
    with wrong_server(closes_early) as port:
        done = load("hold", "127.0.0.1", port, stdin="5\n")
    answer = json.loads(done.stdout)
    assert (answer["wanted"], answer["held"]) == (5, 0)
    assert "closed by the server" in answer["stopped"]


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        ([], 2, "usage: load"),
        (["dance", "127.0.0.1", "7"], 2, "usage: load"),
        (["connect", "-c", "0", "127.0.0.1", "7"], 1, "load: 0: not a number from 1 to 10000"),
        (["connect", "-c", "2", "-i", "1", "127.0.0.1", "7"], 1, "load: -i: for one client"),
        (["connect", "localhost", "7"], 1, "load: localhost 7: not an IPv4 address and a port"),
    ],
)
def test_load_says_how_it_is_called(load, arguments, code, complaint):
    done = load(*arguments)
    assert done.returncode == code
    assert done.stderr.startswith(complaint)
    assert done.stderr.count("\n") == 1


def test_load_says_that_nobody_listens(load):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = load("connect", "127.0.0.1", port)
    assert (done.returncode, done.stderr) == (1, f"load: 127.0.0.1:{port}: Connection refused\n")


def benchmark(*arguments):
    need("cc")
    need(LIBRARY)
    command = [sys.executable, os.path.join(BENCHMARKS, "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)


LIAR = """
import os, re, signal, socket, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
if found := re.search("TCP-LISTEN:([0-9]+)", sys.argv[1]):
    listener = socket.create_server(("127.0.0.1", int(found[1])))
    while connection := listener.accept()[0]:
        if os.fork() == 0:
            while data := bytearray(connection.recv(65536)):
                if len(data) > 1:
                    data[-1] ^= 1
                connection.sendall(data)
            os._exit(0)
        connection.close()
"""


def test_quick_benchmark_fails_for_a_peer_that_is_wrong(tmp_path, monkeypatch):
    (tmp_path / "liar.py").write_text(LIAR)
    liar = tmp_path / "socat"
    liar.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(tmp_path))}/liar.py "$@"\n')
    liar.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    done = benchmark("--quick", "--peers", "socat,textbook", "--metrics", "connect,bulk")
    assert done.returncode == 1
    assert "socat fork, connect: load: wrong byte: number 63 came back as" in done.stderr
    assert "| connections, 8 at a time, /s" in done.stdout, "the others are measured all the same"


def test_quick_benchmark_runs_and_writes_nothing():
    before = {entry.name: entry.stat().st_mtime_ns for entry in os.scandir(BENCHMARKS) if entry.is_file()}
    done = benchmark("--quick", "--peers", "textbook")
    assert done.returncode == 0, done.stderr
    assert "| connections, 8 at a time, /s" in done.stdout
    assert {entry.name: entry.stat().st_mtime_ns for entry in os.scandir(BENCHMARKS) if entry.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--peers", "nginx"], "benchmark: nginx: no such peer; there are echod, textbook, "),
        (["--metrics", "beauty"], "benchmark: beauty: no such metric; there are connect, "),
    ],
)
def test_benchmark_names_what_it_does_not_know(arguments, complaint):
    done = benchmark("--quick", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(complaint)
    assert done.stderr.count("\n") == 1


def symbols(path):
    """Return the symbols that an object file defines, and those that it leaves to others."""
    listed = subprocess.run([need("nm"), "--format=posix", path], capture_output=True, text=True, check=True).stdout
    defined: set[str] = set()
    wanted: set[str] = set()
    for line in listed.splitlines():
        name, kind = line.split()[:2]
        (wanted if kind == "U" else defined if kind.isupper() else set()).add(name)
    return defined, wanted


def test_no_c_file_uses_one_that_uses_it(tmp_path):
    found = {}
    for source in LOAD:
        subprocess.run([need("cc"), "-c", "-o", tmp_path / source, os.path.join(BENCHMARKS, source)], check=True)
        found[source] = symbols(tmp_path / source)
    uses = {one: {other for other in LOAD if wanted & found[other][0]} for one, (_, wanted) in found.items()}
    assert tuple(TopologicalSorter(uses).static_order())[-1] == "main.c", "CycleError tells of a circle"


def test_the_programs_in_c_are_made_of_all_there_are():
    assert {path.name for path in Path(BENCHMARKS).glob("*.c")} == {*LOAD, "textbook.c"}


def test_no_script_imports_one_that_imports_it():
    scripts = {path.stem: ast.parse(path.read_text()) for path in Path(BENCHMARKS).glob("*.py")}
    uses = {}
    for name, tree in scripts.items():  # all imports, those under TYPE_CHECKING and in functions, too
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {getattr(node, "module", alias.name) for node in nodes for alias in node.names}
        uses[name] = names & scripts.keys()
    TopologicalSorter(uses).prepare()


def test_the_picture_is_small_enough_to_compare():
    text = (Path(BENCHMARKS) / "results.svg").read_text()
    assert text.count("\n") < 300
    assert max(map(len, text.splitlines())) < 200
