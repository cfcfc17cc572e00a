"""`proxy_from`: the clients of a load balancer, HAProxy's and those of others, are who it says they are."""

from __future__ import annotations

import contextlib
import socket
import subprocess

import pytest

from support.sockets import exchange, receive_all
from support.wait import DEADLINE, need, wait_for

CONFIG = """
global
    stats socket {home}/haproxy.sock
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout check 5s
    unique-id-format %{{+X}}o%ci%cp
{extra}
frontend echo
    bind fd@{fd}
    default_backend echod
backend echod
{check}
    server echod 127.0.0.1:{port} {options}
"""
PING = "    option tcp-check\n    tcp-check send ping\n    tcp-check expect string ping"
LINE = b"PROXY TCP4 192.0.2.7 192.0.2.1 51514 7\r\n"
VERSIONS = {
    "version 1": "send-proxy",
    "version 2": "send-proxy-v2",
    "version 2 with TLVs": "send-proxy-v2 proxy-v2-options unique-id,crc32c",
}


@pytest.fixture
def haproxy(echod):
    """Return a function that starts HAProxy before `echod`, and returns its address."""
    program, started = need("haproxy"), []

    def start(options, *, check="", extra=""):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            fd = listening.fileno()
            config = echod.home / "haproxy.cfg"
            home = echod.home
            config.write_text(
                CONFIG.format(home=home, fd=fd, port=echod.port, options=options, check=check, extra=extra)
            )
            command = [program, "-q", "-db", "-f", str(config)]
            started.append(subprocess.Popen(command, pass_fds=[fd]))
            wait_for((home / "haproxy.sock").exists, "HAProxy to start")
            return listening.getsockname()

    yield start
    for process in started:
        process.terminate()
        process.wait(DEADLINE)


def health(echod):
    """Return what HAProxy thinks of its server: UP or DOWN, and its last check."""
    with socket.socket(socket.AF_UNIX) as conn:
        conn.settimeout(DEADLINE)
        conn.connect(str(echod.home / "haproxy.sock"))
        conn.sendall(b"show stat\n")
        names, *rows = [line.split(",") for line in receive_all(conn).decode().splitlines() if line]
    (row,) = [dict(zip(names, row, strict=True)) for row in rows if row[1] == "echod"]
    return row["status"], row["check_status"].removeprefix("* ")


def connect(address, host):
    """Return a client of HAProxy that comes from `host`."""
    return socket.create_connection(address, timeout=DEADLINE, source_address=(host, 0))


def name(client):
    """Return the address of a client as text."""
    return "{}:{}".format(*client.getsockname())


@pytest.mark.parametrize("options", VERSIONS.values(), ids=VERSIONS)
def test_the_clients_of_haproxy_are_who_they_are(echod, haproxy, options):
    echod.start(proxy_from="127.0.0.1", deny="127.0.0.3", allow="127.0.0.2 127.0.0.3")
    address = haproxy(options)
    with connect(address, "127.0.0.2") as client:
        client.sendall(b"x" * 100_000)
        client.shutdown(socket.SHUT_WR)
        peer = name(client)
        assert receive_all(client) == b"x" * 100_000
    with connect(address, "127.0.0.2") as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        named = name(client)
        wait_for(lambda: [child["peer"] for child in echod.status()["children"]] == [named], "the peer in the status")
    with connect(address, "127.0.0.3") as client, contextlib.suppress(ConnectionError):
        client.sendall(b"x")
        denied = name(client)
        assert client.recv(1) == b""
    state = echod.wait_idle()
    assert (state["refused"]["access"], state["refused"]["proxy"]) == (1, 0)
    assert (state["ended"]["eof"], state["ended"]["access"], state["closed"]) == (2, 1, 3)
    assert (state["last_refused"]["peer"], state["last_refused"]["reason"]) == (denied, "access")
    assert [line.split()[1] for line in echod.events("close")] == [f"peer={peer}", f"peer={named}"]
    assert echod.events("refuse") == [f"refuse peer={denied} reason=access"]


@pytest.mark.parametrize("version", ["send-proxy check-send-proxy", "send-proxy-v2 check-send-proxy"])
def test_haproxys_checks_with_a_header(echod, haproxy, version):
    echod.start(proxy_from="127.0.0.1", log_summary="127.0.0.1")
    haproxy(
        f"{version} check inter 50ms",
        check=PING,
    )
    wait_for(lambda: echod.status()["closed"] >= 3, "some checks")
    assert health(echod) == ("UP", "L7OK")
    state = echod.status()
    assert state["refused"]["proxy"] == 0
    echod.run("stop", check=0)
    assert not echod.events("close")
    (line,) = echod.events("summary")
    assert line.startswith("summary source=127.0.0.1 clients=")


def test_checks_without_a_header_are_refused(echod, haproxy):
    echod.start(proxy_from="127.0.0.1")
    connect = f"    tcp-check connect port {echod.port}\n"  # without the header, though the server line asks for it
    haproxy("send-proxy check inter 50ms", check=PING.replace("    tcp-check send", connect + "    tcp-check send"))
    wait_for(lambda: echod.status()["refused"]["proxy"] >= 2, "two checks to be refused")
    wait_for(lambda: health(echod)[0] == "DOWN", "HAProxy to find it down")
    assert echod.events("refuse")[0].endswith(" reason=proxy")


def test_many_clients_of_a_load_balancer_are_not_one_source(echod):
    echod.start(proxy_from="127.0.0.1", max_children_per_source="1")
    clients = [echod.connect() for _ in range(3)]
    for number, client in enumerate(clients):
        client.sendall(b"PROXY TCP4 192.0.2.%d 192.0.2.1 51514 7\r\n" % number + b"x")
        assert client.recv(1) == b"x"
    assert echod.status()["refused"]["per_source"] == 0
    for client in clients:
        client.close()


def test_from_elsewhere_a_header_is_data_and_a_reload_is_for_new_clients(echod):
    echod.start(proxy_from="192.0.2.1")
    before = echod.connect()
    before.sendall(LINE)
    assert before.recv(100) == LINE
    echod.write(proxy_from="127.0.0.1")
    assert "proxy_from: 192.0.2.1 -> 127.0.0.1 (new clients)" in echod.run("reload", check=0).stdout
    assert exchange(echod.address, LINE + b"echo") == b"echo"
    before.sendall(LINE)
    assert before.recv(100) == LINE
    before.close()


def test_a_header_that_is_bad_or_late_is_refused(echod):
    echod.start(proxy_from="127.0.0.1", log_clients="no")
    with echod.connect() as late, echod.connect() as bad:
        bad.sendall(b"x" * 108)
        with contextlib.suppress(ConnectionError):
            assert bad.recv(1) == b""
        wait_for(lambda: echod.events("refuse"), "the refusal")
        peer = name(bad)
        assert echod.status()["last_refused"]["peer"] == peer
        late.sendall(LINE[:-1])
        assert late.recv(1) == b""
    state = echod.wait_idle()
    assert (state["refused"]["proxy"], state["ended"]["proxy"], state["closed"]) == (2, 2, 2)
    assert echod.events("refuse")[0] == f"refuse peer={peer} reason=proxy"


def test_through_the_client_that_sends_the_header(echod):
    echod.start(proxy_from="127.0.0.1")
    program = echod.command()[0].removesuffix("d") + "c"
    done = subprocess.run(
        [program, "--proxy", "--verify", "-s", "64KiB", "127.0.0.1", str(echod.port)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert echod.status()["refused"]["proxy"] == 0
