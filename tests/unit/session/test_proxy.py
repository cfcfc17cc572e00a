from __future__ import annotations

import contextlib
import errno
import ipaddress
import mmap
import os
import signal
import socket
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from echod.common.config.addresses import write_address
from echod.common.reasons import ACCESS, CRASHED, DRAIN, EOF, ERRNO, LIFETIME, PROXY, RESET
from echod.common.scoreboard import BEGUN, RECEIVED
from echod.session import proxy as module
from echod.session.proxy import SIGNATURE, Proxied, length, parse
from support.processes import reap, state
from support.sockets import NEVER, limits, receive_all, settings, signal_pipe, tcp_pair
from support.wait import DEADLINE, wait_for

LINE = b"PROXY TCP4 192.0.2.7 198.51.100.1 51514 27978\r\n"


def binary(command, family, body):
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def ipv4(*tlvs, command=0x21, source="192.0.2.7"):
    hosts = ipaddress.ip_address(source).packed + ipaddress.ip_address("198.51.100.1").packed
    return binary(command, 0x11, hosts + struct.pack("!HH", 51514, 27978) + b"".join(tlvs))


def ipv6(source):
    hosts = ipaddress.ip_address(source).packed + ipaddress.ip_address("2001:db8::1").packed
    return binary(0x21, 0x21, hosts + struct.pack("!HH", 51514, 27978))


NAMED = {
    LINE: "192.0.2.7:51514",
    b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n": "255.255.255.255:65535",
    b"PROXY TCP6 2001:db8::7 2001:db8::1 51514 7\r\n": "[2001:db8::7]:51514",
    b"PROXY TCP6 2001:db8::77 127.0.0.1 51514 7\r\n": "[2001:db8::77]:51514",
    b"PROXY TCP6 2001:db8::77 ::ffff:127.0.0.1 51514 7\r\n": "[2001:db8::77]:51514",
    b"PROXY TCP4 192.0.2.7 ::1 51514 7\r\n": "192.0.2.7:51514",
    b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 51514 7\r\n": "192.0.2.7:51514",
    b"PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".replace(
        b"f...f", b":".join([b"ffff"] * 6)
    ): "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
    ipv4(): "192.0.2.7:51514",
    ipv4(b"\x04\0\x03abc", b"\x03\0\x041234"): "192.0.2.7:51514",
    ipv4(bytes(0xFFFF - 12)): "192.0.2.7:51514",
    ipv6("2001:db8::7"): "[2001:db8::7]:51514",
    ipv6("::ffff:192.0.2.7"): "192.0.2.7:51514",
}
NAMELESS = [
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN ffff:: whatever 65536 x\r\n",
    b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n",
    binary(0x20, 0x00, b""),
    binary(0x20, 0x11, b"too short"),
    binary(0x20, 0xFF, b"\x04\0\x01x"),
    binary(0x21, 0x00, b"\x04\0\x01x"),
    binary(0x21, 0x31, bytes(216)),
]
BAD = [
    b"PROXY",
    b"PROXY \r\n",
    b"PROXY UNKNOWN\n",
    b"PROXY  TCP4 192.0.2.7 198.51.100.1 51514 7\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 51514\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 51514 7 8\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 51514 65536\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 7\r\n",
    "PROXY TCP4 192.0.2.7 198.51.100.1 ² 7\r\n".encode("latin-1"),
    b"PROXY TCP4 192.0.2 198.51.100.1 51514 7\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 51514 7\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100 51514 7\r\n",
    b"PROXY TCP6 2001:db8::7 2001:db8::g 51514 7\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1\0 51514 7\r\n",
    b"PROXY TCP6 192.0.2.7 198.51.100.1 51514 7\r\n",
    b"PROXY TCP6 fe80::1%lo 2001:db8::1 51514 7\r\n",
    b"PROXY UDP4 192.0.2.7 198.51.100.1 51514 7\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 51514 7\n",
    b"proxy TCP4 192.0.2.7 198.51.100.1 51514 7\r\n",
    b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"hello\n",
    b"\0",
    SIGNATURE[:11] + b"\r",
    ipv4(command=0x11),
    ipv4(command=0x22),
    binary(0x21, 0x11, bytes(11)),
    binary(0x21, 0x21, bytes(35)),
    binary(0x21, 0x31, bytes(215)),
    binary(0x21, 0x13, bytes(300)),
    binary(0x21, 0x41, bytes(300)),
]


def read_whole(data):
    """Return what the header at the beginning of `data` names, as text, and what follows it."""
    size = length(data)
    if size > len(data):
        raise ValueError("not whole")
    client = parse(data[:size])
    return client and write_address(client), data[size:]


@pytest.mark.parametrize("header", NAMED)
def test_the_client_it_names(header):
    assert read_whole(header) == (NAMED[header], b"")


@pytest.mark.parametrize("header", NAMELESS)
def test_it_names_none(header):
    assert read_whole(header) == (None, b"")


@pytest.mark.parametrize("header", BAD)
def test_bad_ones(header):
    with pytest.raises(ValueError, match=r"."):
        read_whole(header)


@pytest.mark.parametrize("header", [*NAMED, *NAMELESS])
def test_no_part_of_one_is_taken_for_the_whole(header):
    parts = [header[:size] for size in range(min(len(header), 300))] + [header[:-1]]
    assert all(length(part) > len(part) for part in parts)
    assert length(header + b"PROXY UNKNOWN\r\n") == len(header)


@given(st.binary(max_size=300) | st.binary(max_size=300).map(SIGNATURE.__add__) | st.binary().map(b"PROXY ".__add__))
@example(b"")
def test_garbage_is_bad_or_names_an_address(data):
    try:
        text, _ = read_whole(data)
    except ValueError:
        return
    if text:
        ipaddress.ip_address(text.rpartition(":")[0].strip("[]"))


@given(st.ip_addresses(), st.integers(0, 65535), st.binary(max_size=64), st.booleans())
def test_both_versions_name_any_address(host, port, behind, old):
    if old:
        header = f"PROXY TCP{host.version} {host} {host} {port} 7\r\n".encode()
    else:
        body = host.packed * 2 + struct.pack("!HH", port, 7)
        header = binary(0x21, {4: 0x11, 6: 0x21}[host.version], body)
    shown = getattr(host, "ipv4_mapped", None) or host
    text, rest = read_whole(header + behind)
    assert rest == behind
    assert text.rpartition(":") == (f"[{shown}]" if shown.version == 6 else str(shown), ":", str(port))


class Behind:
    """A session in a process of its own, which we are the load balancer of; `conn` is our end."""

    def __init__(self, *overrides, limits=NEVER):
        self.conn, served = tcp_pair()
        self.conn.settimeout(DEADLINE)
        self._shared = mmap.mmap(-1, mmap.PAGESIZE)
        self.counters = memoryview(self._shared).cast("B").cast("Q")[:5]
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
        self.pid = os.fork()
        if self.pid == 0:
            reason = CRASHED
            try:
                self.conn.close()
                config = settings(*(overrides or ["proxy_from=127.0.0.0/8"]))
                pipe = signal_pipe()
                pipe.session = Proxied(limits, config, self._name)
                reason = pipe.session.run(served.fileno(), self.counters, 0)
            finally:
                os._exit(reason)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        served.close()

    def _name(self, at, text):
        assert at == 0
        self._shared[1024:1088] = text.encode().ljust(64, b"\0")

    def name(self):
        """Return the name of the client, as the session has told it."""
        return self._shared[1024:1088].rstrip(b"\0").decode()

    def echo(self, data):
        """Half-close, and tell whether all of this comes back."""
        self.conn.shutdown(socket.SHUT_WR)
        return receive_all(self.conn) == data

    def waits(self):
        """Wait until the session waits for the header."""
        wait_for(lambda: self.counters[BEGUN] and state(self.pid) == "S", "the session to poll")

    def end(self):
        """Return the reason, once the session is over."""
        pid, self.pid = self.pid, 0
        return reap(pid)

    def close(self):
        self.conn.close()
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@pytest.fixture
def behind():
    made = []

    def behind(*args, **kwargs):
        made.append(Behind(*args, **kwargs))
        return made[-1]

    yield behind
    for one in made:
        one.close()


@pytest.mark.parametrize("header", [*NAMED, *NAMELESS], ids=range(len(NAMED) + len(NAMELESS)))
def test_what_is_behind_the_header_in_the_same_segment_is_the_clients(behind, header):
    one = behind()
    one.conn.sendall(header + b"PROXY of my own\r\n")
    assert one.echo(b"PROXY of my own\r\n")
    assert one.end() == EOF
    assert one.name() == NAMED.get(header, "")
    assert one.counters[RECEIVED] == 17


@pytest.mark.parametrize("header", [LINE, ipv4(b"\x04\0\x03abc")], ids=["line", "binary"])
def test_byte_by_byte(behind, header):
    one = behind()
    one.conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    one.waits()
    for byte in header + b"echo":
        one.conn.sendall(bytes([byte]))
        wait_for(lambda: not queued(one.conn), "the byte to be taken")
    assert one.echo(b"echo")
    assert (one.end(), one.name()) == (EOF, "192.0.2.7:51514")


def queued(conn):
    """Return how many bytes the peer, on this machine, has not read."""
    ends = [f":{address[1]:04X}" for address in (conn.getpeername(), conn.getsockname())]
    with open("/proc/net/tcp") as file:
        for line in file:
            words = line.split()
            if [words[1][-5:], words[2][-5:]] == ends:
                return int(words[4].partition(":")[2], 16)
    return 0


@pytest.mark.parametrize("header", BAD, ids=range(len(BAD)))
def test_a_bad_header_closes(behind, header):
    one = behind()
    one.conn.sendall(header)
    with contextlib.suppress(OSError):  # the session may have closed the connection already
        one.conn.shutdown(socket.SHUT_WR)
    assert one.end() == PROXY
    assert one.name() == ""


@pytest.mark.parametrize("part", [b"", LINE[:-1], ipv4()[:-1]], ids=["nothing", "line", "binary"])
def test_a_header_that_comes_late(behind, part, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    one = behind()
    one.conn.sendall(part)
    assert one.end() == PROXY


def test_a_reset_before_the_header(behind):
    one = behind()
    one.waits()
    one.conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.conn.close()
    assert one.end() == RESET


def test_a_reset_before_the_session():
    client, served = tcp_pair()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    with served:
        assert Proxied(NEVER, settings("proxy_from=127.0.0.1"), print).run(served.fileno(), [0] * 5, 0) == RESET


def test_any_other_error_has_its_name(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    reason = Proxied(NEVER, settings("proxy_from=127.0.0.1"), print).run(fd, [0] * 5, 0)
    os.close(fd)
    assert reason == ERRNO + errno.ENOTSOCK


def test_from_elsewhere_a_header_is_data(behind):
    one = behind("proxy_from=192.0.2.1")
    one.conn.sendall(LINE)
    assert one.echo(LINE)
    assert (one.end(), one.name()) == (EOF, "")


@pytest.mark.parametrize(
    ("header", "rule", "reason"),
    [
        (LINE, "deny=192.0.2.7", ACCESS),
        (LINE, "allow=127.0.0.1", ACCESS),
        (LINE, "deny=127.0.0.1", EOF),
        (LINE, "allow=192.0.2.0/24", EOF),
        (ipv6("2001:db8::7"), "deny=2001:db8::/32", ACCESS),
        (b"PROXY UNKNOWN\r\n", "deny=127.0.0.1", ACCESS),
        (b"PROXY UNKNOWN\r\n", "allow=127.0.0.1", EOF),
    ],
)
def test_allow_and_deny_are_about_the_client_that_is_named(behind, header, rule, reason):
    one = behind("proxy_from=127.0.0.1", rule)
    one.conn.sendall(header)
    one.conn.shutdown(socket.SHUT_WR)
    assert one.end() == reason


def test_a_drain_before_the_header(behind):
    one = behind()
    one.waits()
    os.kill(one.pid, signal.SIGTERM)
    assert one.end() == DRAIN


def test_a_drain_lets_a_header_through_that_has_come(behind):
    one = behind()
    one.waits()
    os.kill(one.pid, signal.SIGSTOP)
    wait_for(lambda: state(one.pid) == "T", "the child to be stopped")
    one.conn.sendall(LINE + b"echo")
    os.kill(one.pid, signal.SIGTERM)
    os.kill(one.pid, signal.SIGCONT)
    assert receive_all(one.conn) == b"echo"
    one.conn.close()
    assert one.end() == DRAIN


@pytest.mark.parametrize("header", [b"", LINE], ids=["without", "with"])
def test_the_lifetime_begins_before_the_header(behind, header):
    one = behind(limits=limits(lifetime=0.3))
    one.conn.sendall(header)
    assert receive_all(one.conn) == b""
    one.conn.close()
    assert one.end() == LIFETIME


def test_the_timer_of_the_lifetime_is_set_once(behind, monkeypatch):
    read_end, write_end = os.pipe()
    monkeypatch.setattr("echod.session.session.signal.setitimer", lambda *_: os.write(write_end, b"."))
    one = behind(limits=limits(lifetime=60))
    one.conn.sendall(LINE + b"x")
    assert one.conn.recv(1) == b"x"
    assert os.read(read_end, 10) == b"."
    os.close(read_end)
    os.close(write_end)
