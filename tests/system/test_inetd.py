"""`inetd`: one connection on descriptor 0, under the super-servers people have."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from typing import Any

import pytest

from support.daemon import ECHOD
from support.processes import MountNamespace
from support.sockets import exchange, port_of_its_own, receive_all
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
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    echod = config.with_name("echod")  # few take a program whose path has a blank in it
    echod.symlink_to(ECHOD)
    child = f"{echod} -c {config} inetd"
    xinetd, inetd = config.with_name("xinetd.conf"), config.with_name("inetd.conf")
    xinetd.write_text(XINETD.format(user=user, port=port, server=echod, config=config))
    inetd.write_text(f"127.0.0.1:{port} stream tcp nowait {user} {echod} {child}\n")
    listen = f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr"
    return {
        "xinetd": ["xinetd", "-dontfork", "-f", str(xinetd), "-pidfile", str(config.with_name("xinetd.pid"))],
        "inetd": ["inetd", "-i", str(inetd)],
        "tcpserver": ["tcpserver", "-q", "-H", "-R", "127.0.0.1", str(port), *child.split()],
        "socat: its socket": ["socat", listen, f"EXEC:{child},nofork"],
        "socat: a Unix socket": ["socat", "-t20", listen, f"EXEC:{child}"],
        "socat: pipes": ["socat", "-t2", listen, f"EXEC:{child},pipes"],
        "ncat: pipes": ["ncat", "-l", "-k", "-e", child, "127.0.0.1", str(port)],
    }


def patient_exchange(address, data):
    """Return what comes back for data, all of it before the half-close: Ncat before 7.96 drops the rest then."""
    with socket.create_connection(address, timeout=DEADLINE) as conn:
        sender = threading.Thread(target=conn.sendall, args=[data])
        sender.start()
        back = b""
        while len(back) < len(data) and (more := conn.recv(MIB)):
            back += more
        sender.join()
        return back


@pytest.mark.parametrize(
    "name",
    ["xinetd", "inetd", "tcpserver", "socat: its socket", "socat: a Unix socket", "socat: pipes", "ncat: pipes"],
)
def test_serves_under(name, config):
    port = port_of_its_own()
    data = os.urandom(MIB)
    command = commands(config, port)[name]
    command[0] = need(command[0])
    with contextlib.ExitStack() as stack:
        if name == "inetd":  # it writes /run/inetd.pid
            command = [*stack.enter_context(MountNamespace("mount -t tmpfs none /run")).prefix, *command]
        address = stack.enter_context(super_server(command, port))
        assert (patient_exchange if name.startswith("ncat") else exchange)(address, data) == data
        with socket.create_connection(address, timeout=DEADLINE) as one, socket.create_connection(address) as two:
            for conn in (one, two):
                conn.sendall(b"side by side")
                assert conn.recv(100) == b"side by side"
            peer = "{}:{}".format(*two.getsockname())
        log = config.with_name("inetd.log")
        wait_for(lambda: f"close peer={peer} " in log.read_text(), "the last client's line")
    assert f"reason=eof in={MIB} out={MIB}" in log.read_text()


def serve(config, *words):
    """Serve one of two connected sockets, and return the process and the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=DEADLINE)
        server = listener.accept()[0]
    command: list[str] = [ECHOD, "-c", str(config), *words, "inetd"]
    with server:
        return subprocess.Popen(command, stdin=server, stdout=server, stderr=server), client  # type: ignore[call-overload]


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


@pytest.mark.parametrize("kind", ["/dev/null", "pipe", "closed", "listener", "datagrams"])
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
        elif kind == "datagrams":
            stdin = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            stdin.connect(("127.0.0.1", 9))
        else:
            stdin = stack.enter_context(open(kind))
        done = stack.enter_context(subprocess.Popen(command, stdin=stdin, stderr=subprocess.PIPE, text=True))
        said = done.communicate(timeout=DEADLINE)[1]
    assert done.returncode == 1
    assert said == (
        "echod: inetd: standard input is no connected socket (TCP or Unix), nor is it, with standard output, a pair of "
        "pipes; a super-server passes one\n"
    )
