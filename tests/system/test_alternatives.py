"""README's table of other servers, cell by cell: each server is tried with the version that this machine has."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from support.sockets import port_of_its_own
from support.wait import DEADLINE, need, need_root, wait_for

README = (Path(__file__).parents[2] / "README.md").read_text()
ROWS = re.findall(r"^\| ((?:returns|one client|on SIGTERM)[^|]*) \| (.*) \|$", README, re.MULTILINE)
NAMES = ("echod", "xinetd", "tcpserver", "socat", "ncat")
CELLS = {row: dict(zip(NAMES, cells.split(" | "), strict=True)) for row, cells in ROWS}
MOST = 2  # clients
ECHOC = os.path.join(os.path.dirname(sys.executable), "echoc")
XINETD = """service cat
{{
    type = UNLISTED
    socket_type = stream
    protocol = tcp
    wait = no
    user = root
    server = /bin/cat
    bind = 127.0.0.1
    port = {port}
    instances = {most}
    per_source = UNLIMITED
    cps = 100000 1
}}
"""


def command(name, port, directory, echod):
    """Return the command line of a server that echoes, for MOST clients."""
    if name == "echod":
        echod.write(listen=f"127.0.0.1:{port}", max_children=MOST)
        return echod.command("run")
    program = need(name)
    if name == "xinetd":
        need_root()
        (directory / "conf").write_text(XINETD.format(port=port, most=MOST))
        return [program, "-dontfork", "-f", str(directory / "conf"), "-pidfile", str(directory / "pid")]
    return {
        "tcpserver": [program, "-RH", "-l", "localhost", "-c", str(MOST), "127.0.0.1", str(port), "cat"],
        "socat": [program, f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,max-children={MOST}", "EXEC:cat"],
        "ncat": [program, "-l", "-k", "-m", str(MOST), "-e", "/bin/cat", "127.0.0.1", str(port)],
    }[name]


@pytest.fixture(params=NAMES)
def server(request, tmp_path, echod):
    """Start a server; yield its name, its address and its process."""
    address = "127.0.0.1", port_of_its_own()
    words = command(request.param, address[1], tmp_path, echod)
    null = subprocess.DEVNULL
    with subprocess.Popen(words, start_new_session=True, stdout=null, stderr=null) as process:
        try:
            client(address).close()
            yield request.param, address, process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def served(address):
    """Return a connection whose first byte was echoed, or None."""
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        conn = stack.enter_context(socket.create_connection(address, DEADLINE))
        conn.sendall(b"x")
        if conn.recv(1) == b"x":
            stack.pop_all()
            return conn
    return None


def client(address):
    """Return a connection whose first byte was echoed. The server may not have noticed yet that another has ended."""
    return wait_for(lambda: served(address), "a client to be served")


def cell(row, name):
    """Return what the table says, without its remark."""
    (found,) = (cells[name] for title, cells in CELLS.items() if title.startswith(row))
    return found.partition(" (")[0].partition(",")[0]


def test_returns_everything_after_a_half_close(server):
    name, (host, port), _ = server
    words = [ECHOC, "--verify", "-s", "4MiB", "--timeout", "3", "--pattern", "half-close,16KiB,late-reader"]
    done = subprocess.run([*words, host, str(port)], capture_output=True, text=True, timeout=DEADLINE * 3)
    assert (done.returncode == 0) == (cell("returns", name) == "yes"), done.stdout


def test_one_client_more_than_the_limit(server):
    name, address, _ = server
    inside = [client(address) for _ in range(MOST)]
    with contextlib.ExitStack() as stack, socket.create_connection(address, DEADLINE) as third:
        for conn in inside:
            stack.enter_context(conn)
        with contextlib.suppress(OSError):
            third.sendall(b"third")
        answered = select.select([third], [], [], 0.5)[0]
        if cell("one client", name) == "waits":
            assert not answered
            inside.pop().close()
            assert third.recv(100) == b"third"
        else:
            with contextlib.suppress(ConnectionResetError):
                assert third.recv(100) == b""


def test_its_clients_on_sigterm(server):
    name, address, process = server
    with client(address) as conn:
        process.send_signal(signal.SIGTERM)
        if cell("on SIGTERM", name) == "end in order":
            assert conn.recv(100) == b""
            assert process.wait(DEADLINE) == 0
        else:
            conn.sendall(b"still there")
            assert conn.recv(100) == b"still there"
            assert not select.select([conn], [], [], 0.5)[0], "it is not ended"
