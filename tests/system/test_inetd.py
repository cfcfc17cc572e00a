"""`inetd`: one connection on descriptor 0, under the super-servers people have."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from typing import Any

import pytest

from support.daemon import ECHOD
from support.sockets import exchange, receive_all
from support.wait import DEADLINE, need, wait_for

MIB = 1 << 20
XINETD = """
service echod
{{
    type = UNLISTED
    socket_type = stream
    protocol = tcp
    wait = no
    user = {user}
    bind = 127.0.0.1
    port = {port}
    server = {server}
    server_args = -c {config} inetd
}}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "echod.conf"
    path.write_text(f"[echod]\nlog = {tmp_path}/inetd.log\n")
    return path


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


@contextlib.contextmanager
def super_server(command, port):
    """Run a super-server until the `with` block ends; it serves once it accepts."""
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL) as process:

        def accepts():
            assert process.poll() is None, "it has ended"
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=DEADLINE).close()
                return True

        try:
            wait_for(accepts, command[0])
            yield ("127.0.0.1", port)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(DEADLINE)


def commands(config, port):
    """Return how each super-server is called to serve echod on a port of 127.0.0.1."""
    conf = config.with_name("xinetd.conf")
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    conf.write_text(XINETD.format(user=user, port=port, server=ECHOD, config=config))
    child = f"{ECHOD} -c {config} inetd"
    return {
        "xinetd": ["-dontfork", "-f", str(conf), "-pidfile", str(config.with_name("xinetd.pid"))],
        "tcpserver": ["-q", "-H", "-R", "127.0.0.1", str(port), *child.split()],
        "socat": [f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr", f"EXEC:{child},nofork"],
    }


@pytest.mark.parametrize("name", ["xinetd", "tcpserver", "socat"])
def test_serves_under(name, config):
    port = free_port()
    data = os.urandom(MIB)
    with super_server([need(name), *commands(config, port)[name]], port) as address:
        assert exchange(address, data) == data
        with socket.create_connection(address, timeout=DEADLINE) as one, socket.create_connection(address) as two:
            for conn in (one, two):
                conn.sendall(b"side by side")
                assert conn.recv(100) == b"side by side"
    log = config.with_name("inetd.log").read_text()
    assert f"reason=eof in={MIB} out={MIB}" in log


def serve(config, *words):
    """Serve one of two connected sockets, and return the process and the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname(), timeout=DEADLINE)
        theirs = listener.accept()[0]
    command: list[str] = [ECHOD, "-c", str(config), *words, "inetd"]
    with theirs:
        return subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs), ours  # type: ignore[call-overload]


def test_what_it_has_to_say_does_not_reach_the_client(config):
    process, conn = serve(config, "-o", "log=stderr", "-o", "log_level=debug")
    with conn:
        conn.sendall(b"x")
        conn.shutdown(socket.SHUT_WR)
        assert receive_all(conn) == b"x"
    assert process.wait(DEADLINE) == 0


def test_sigterm_drains_it(config):
    process, conn = serve(config)
    with conn:
        conn.sendall(b"x")
        assert conn.recv(100) == b"x"
        process.terminate()
        assert conn.recv(100) == b""
        assert conn.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert process.wait(DEADLINE) == 0
    assert "reason=drain in=1 out=1" in config.with_name("inetd.log").read_text()


@pytest.mark.parametrize("kind", ["/dev/null", "pipe", "closed", "listener"])
def test_no_connected_socket(config, kind):
    command = [ECHOD, "-c", str(config), "inetd"]
    with contextlib.ExitStack() as stack:
        stdin: Any = None
        if kind == "closed":
            command = ["sh", "-c", 'exec "$0" "$@" <&-', *command]
        elif kind == "pipe":
            stdin = subprocess.PIPE
        elif kind == "listener":
            stdin = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        else:
            stdin = stack.enter_context(open(kind))
        done = stack.enter_context(subprocess.Popen(command, stdin=stdin, stderr=subprocess.PIPE, text=True))
        said = done.communicate(timeout=DEADLINE)[1]
    assert done.returncode == 1
    assert said == "echod: inetd: standard input is no connected TCP socket; a super-server passes one\n"
