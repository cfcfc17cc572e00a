"""The shape of the house: who may import whom, what the server's image may load, how large things may grow."""

from __future__ import annotations

import ast
import os
import signal
import socket
import subprocess
import sys

import pytest

from conftest import DEADLINE, exchange, receive_all
from echod.handover import Handover
from pieces import SOURCE, reap

# Each room may import those to its right and below, never one above; `|` parts the launcher's rooms, the server's and
# those of both sides.
LAUNCHER = "__main__ cli commands place launch superserver control status pidfile"
SERVER = "boot image server reload acceptor children admission signals session notify log sinks"
BOTH = "listener scoreboard handover config configfile values errors lean"
ORDER = f"{LAUNCHER} {SERVER} {BOTH}".split()

HEAVY = """threading logging asyncio typing dataclasses configparser argparse subprocess enum re os socket signal
    collections array functools contextlib inspect tempfile shutil ipaddress struct locale site daemon lockfile
    _struct fcntl"""

MODULES = {path.stem: path for path in sorted(SOURCE.glob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def executed(tree):
    """Yield the nodes of a module but for what stands under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            for other in node.orelse:
                yield other
                yield from executed(other)
            continue
        yield node
        yield from executed(node)


def imported(name):
    """Return the rooms that a module imports when it runs."""
    rooms = set()
    for node in executed(TREES[name]):
        if isinstance(node, ast.ImportFrom) and node.module == "echod":
            rooms |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("echod."):
            rooms.add((node.module or "").partition(".")[2])
        elif isinstance(node, ast.Import):
            rooms |= {alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("echod.")}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{name}: a relative import"
    return rooms - {"__version__"}


def reachable(name):
    """Return all rooms that come with a module."""
    found, left = set(), [name]
    while left:
        room = left.pop()
        if room not in found:
            found.add(room)
            left += imported(room)
    return found


def test_every_module_has_its_place_in_the_order():
    assert sorted(ORDER) == sorted(MODULES.keys() - {"__init__"})


@pytest.mark.parametrize("name", ORDER)
def test_imports_run_downwards(name):
    for room in imported(name):
        assert ORDER.index(room) > ORDER.index(name), f"{name} imports {room}, which is above it"


def test_the_session_knows_sockets_and_nothing_else():
    assert imported("session") == {"lean"}


def test_the_server_needs_nothing_of_the_launcher():
    assert reachable("boot") <= set(f"{SERVER} {BOTH}".split())
    assert reachable("boot") >= set(SERVER.split()) - {"boot"}


def test_the_launcher_needs_no_more_of_the_server_than_signals():
    assert reachable("cli") & set(SERVER.split()) <= {"signals", "children", "session", "log", "sinks"}, (
        "inetd, and names"
    )


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_at_most_200_lines(name):
    assert len(MODULES[name].read_text().splitlines()) <= 200


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("name", MODULES)
def test_a_function_has_at_most_40_lines(name):
    for function in functions(TREES[name]):
        lines = (function.end_lineno or 0) - function.lineno + 1
        assert lines <= 40, f"{name}.{function.name} has {lines} lines"


@pytest.mark.parametrize("name", MODULES)
def test_what_is_public_has_a_docstring(name):
    tree = TREES[name]
    assert ast.get_docstring(tree), name
    for scope in ast.walk(tree):
        for node in scope.body if isinstance(scope, ast.Module | ast.ClassDef) else []:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{name}.{node.name}"


def loaded(told):
    """Return the modules in what `-X importtime` has told."""
    return {line.rpartition("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")}


def test_the_server_loads_next_to_nothing_in_all_its_life(tmp_path):
    """Serve, reload, reopen and stop; whatever was imported until then is in the list."""
    with socket.create_server(("127.0.0.1", 0)) as listening, open(tmp_path / "stderr", "w+") as told:
        address = listening.getsockname()
        ready, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                execute_server(tmp_path, listening.fileno(), theirs, told.fileno())
            finally:
                os._exit(99)
        os.close(theirs)
        try:
            assert os.read(ready, 4096) == b"\n"
            assert exchange(address, b"hello") == b"hello"
            for signum in (signal.SIGHUP, signal.SIGUSR1):
                os.kill(pid, signum)
                assert exchange(address, b"still here") == b"still here"
            with socket.create_connection(address, timeout=DEADLINE) as conn:
                conn.sendall(b"last")
                assert conn.recv(4) == b"last"
                os.kill(pid, signal.SIGTERM)
                assert receive_all(conn) == b""
            assert reap(pid) == 0
        finally:
            os.close(ready)
        told.seek(0)
        text = told.read()
    modules = loaded(text)
    assert "echod.server" in modules, text
    assert modules & set(HEAVY.split()) == set()
    assert {name.partition(".")[2] for name in modules if name.startswith("echod.")} == reachable("image")
    assert "reload generation=2" in (tmp_path / "log").read_text()


def execute_server(home, listening, ready, told):
    """Lay out the descriptors as the launcher does, and become the server."""
    handover = Handover()
    handover.config_file, handover.base = "/dev/null", str(home)
    handover.overrides = [f"log={home}/log", "log_level=debug", "max_lifetime=1h", "deny=192.0.2.0/24"]
    handover.addresses = [None]
    handover.ready_fd, handover.board_fd = os.dup2(ready, 20), os.dup2(os.memfd_create("board"), 21)
    os.dup2(listening, 3)
    os.dup2(told, 2)
    words = [sys.executable, "-I", "-S", "-X", "importtime", str(SOURCE / "boot.py"), *handover.to_words()]
    os.execve(sys.executable, words, {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})


def test_the_server_finds_its_package_without_site(tmp_path):
    command = [sys.executable, "-I", "-S", str(SOURCE / "boot.py"), "config_file=/dev/null"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={})
    assert done.stderr == "echod: LISTEN_PID is not this process: no sockets were passed\n"
    assert done.returncode == 1
