"""The shape of the code: who may import whom, what the server's image may load, how large things may grow."""

from __future__ import annotations

import ast
import fcntl
import functools
import os
import signal
import socket
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from echod.common.launch import Launch
from echod.common.scoreboard import initialize
from support.daemon import SOURCE
from support.processes import reap
from support.sockets import exchange, receive_all
from support.wait import DEADLINE

# What each folder may import of echod beside itself: downwards only. `echod` alone is the version.
MAY_IMPORT = {
    "cli": {"echod", "session", "log", "common"},
    "server": {"echod", "session", "log", "common"},
    "session": {"echod", "log", "common"},
    "log": {"echod", "common"},
    "common": {"echod"},
    "echoc": {"echod"},
    "__main__": set(),
    "__init__": set(),
}

HEAVY = """threading logging asyncio typing dataclasses configparser argparse subprocess enum re os socket signal
    collections array functools contextlib inspect tempfile shutil ipaddress struct locale site daemon lockfile
    _struct fcntl"""

MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts): path
    for path in sorted(SOURCE.rglob("*.py"))
    if path.name != "__init__.py" or path.parent == SOURCE
}


@functools.cache
def tree_of(name):
    """Return the syntax tree of a module: made when it is asked for, since every worker imports this file."""
    return ast.parse(MODULES[name].read_text())


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


def imported(nodes):
    """Return the modules of echod that these nodes import, without the `echod.` before them."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            if top == "echod":
                found.add(next((m for m in (rest, rest.rpartition(".")[0]) if m in MODULES), "echod"))
    return found


@functools.cache
def imports(name):
    """Return the modules that a module imports, those under TYPE_CHECKING, too."""
    return imported(ast.walk(tree_of(name)))


@functools.cache
def runs(name):
    """Return the modules that a module imports when it runs."""
    return imported(executed(tree_of(name)))


def reachable(name, imports=runs):
    """Return all modules that come with a module."""
    found, left = set(), [name]
    while left:
        module = left.pop()
        if module not in found:
            found.add(module)
            left += imports(module) if module in MODULES else ()
    return found - {"echod"}


def allowed(module, other):
    """Tell whether a module may import another: one of its own folder, or of those below."""
    folder = module.partition(".")[0]
    return other.startswith(f"{folder}.") or any(
        other == name or other.startswith(f"{name}.") for name in MAY_IMPORT[folder]
    )


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_downwards(name):
    assert not [other for other in imports(name) if not allowed(name, other)], f"{name} imports what is above it"


@pytest.mark.parametrize("name", MODULES)
def test_no_import_leads_back(name):
    assert name not in {back for other in imports(name) for back in reachable(other, imports)}, f"a circle at {name}"


def test_the_session_knows_sockets_and_neither_settings_nor_the_log():
    known = reachable("session.session")
    assert not [name for name in known if name.startswith(("common.config", "common.sockets", "log"))]


def test_the_server_is_made_of_its_folder_and_of_common():
    mine = {name for name in MODULES if name.partition(".")[0] == "server"}
    assert reachable("server.boot") >= mine


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_at_most_300_lines(name):
    assert len(MODULES[name].read_text().splitlines()) <= 300


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("name", MODULES)
def test_a_function_has_at_most_40_lines(name):
    for function in functions(tree_of(name)):
        if (name, function.name) == ("server.acceptor", "accept"):
            continue  # the accept loop: each function that it called would cost every client
        lines = (function.end_lineno or 0) - function.lineno + 1
        assert lines <= 40, f"{name}.{function.name} has {lines} lines"


@pytest.mark.parametrize("name", MODULES)
def test_what_is_public_has_a_docstring(name):
    tree = tree_of(name)
    assert ast.get_docstring(tree), name
    for scope in ast.walk(tree):
        for node in scope.body if isinstance(scope, ast.Module | ast.ClassDef) else []:
            setter = any(isinstance(deco, ast.Attribute) for deco in getattr(node, "decorator_list", ()))
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_") and not setter:
                assert ast.get_docstring(node), f"{name}.{node.name}"


def loaded(log):
    """Return the modules in what `-X importtime` has printed."""
    return {line.rpartition("|")[2].strip() for line in log.splitlines() if line.startswith("import time:")}


def test_the_server_loads_next_to_nothing_in_all_its_life(tmp_path):
    """Serve, reload, reopen and stop; whatever was imported until then is in the list."""
    with socket.create_server(("127.0.0.1", 0)) as listening, open(tmp_path / "stderr", "w+") as stderr:
        address = listening.getsockname()
        ready, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                execute_server(tmp_path, listening.fileno(), write_end, stderr.fileno())
            finally:
                os._exit(99)
        os.close(write_end)
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
        stderr.seek(0)
        text = stderr.read()
    modules = loaded(text)
    assert "echod.server.server" in modules, text
    assert modules & set(HEAVY.split()) == set()
    assert {name.partition(".")[2] for name in modules if name.startswith("echod.")} & MODULES.keys() == reachable(
        "server.main"
    )
    assert "reload generation=2" in (tmp_path / "log").read_text()


def execute_server(home, listening, ready, stderr):
    """Lay out the descriptors as the launcher does, and become the server."""
    launch = Launch(
        config_file="/dev/null",
        base=str(home),
        overrides=(f"log={home}/log", "log_level=debug", "max_lifetime=1h", "deny=192.0.2.0/24"),
        addresses=(None,),
        ready_fd=fcntl.fcntl(ready, fcntl.F_DUPFD, 10),  # not 3, which is the listener's
        pid_fd=fcntl.fcntl(os.memfd_create("pid"), fcntl.F_DUPFD, 10),
        board_fd=fcntl.fcntl(os.memfd_create("board"), fcntl.F_DUPFD, 10),
    )
    initialize(launch.board_fd, 256)
    os.dup2(listening, 3)
    os.dup2(stderr, 2)
    words = [sys.executable, "-I", "-S", "-X", "importtime", str(SOURCE / "server" / "boot.py"), *launch.to_items()]
    os.execve(sys.executable, words, {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})


def test_the_server_finds_its_package_without_site(tmp_path):
    command = [sys.executable, "-I", "-S", str(SOURCE / "server" / "boot.py"), "config_file=/dev/null"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={})
    assert done.stderr == "echod: LISTEN_PID is not this process: no sockets were passed\n"
    assert done.returncode == 1


def test_what_tests_share_imports_in_no_circle():
    folder = Path(__file__).parent / "support"
    uses = {}
    for path in folder.glob("*.py"):
        tree = ast.parse(path.read_text())
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {getattr(node, "module", alias.name) for node in nodes for alias in node.names}
        names |= {
            f"support.{alias.name}"
            for node in nodes
            if getattr(node, "module", "") == "support"
            for alias in node.names
        }
        uses[f"support.{path.stem}"] = {name for name in names if name.startswith("support.")}
    TopologicalSorter(uses).prepare()
