from __future__ import annotations

import os
import re
import resource
import select
import socket

import pytest

from echod.log import sinks as module
from echod.log.log import ERROR, INFO, WARNING, Log
from echod.log.sinks import Syslog
from support.processes import isolated
from support.sockets import settings
from support.wait import DEADLINE, wait_for


@pytest.fixture
def syslogd(tmp_path, monkeypatch):
    """Return a function that (again) opens the socket that a syslogd reads."""
    path = tmp_path / "log.sock"
    monkeypatch.setattr(module, "DEV_LOG", str(path))
    opened = []

    def syslogd():
        path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind(str(path))
        sock.settimeout(DEADLINE)
        opened.append(sock)
        return sock

    yield syslogd
    for sock in opened:
        sock.close()


def test_syslog_gets_a_datagram_an_event(syslogd):
    daemon = syslogd()
    sink = Syslog("local7")
    for level, severity in ((ERROR, 3), (WARNING, 4), (INFO, 6)):
        assert sink.write(level, "ready listen=ü")
        line = daemon.recv(1000).decode()
        stamp = r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ 123]\d \d\d:\d\d:\d\d"
        assert re.fullmatch(rf"<{23 * 8 + severity}>{stamp} echod\[{os.getpid()}\]: ready listen=ü", line)
    sink.close()


def test_a_syslogd_that_does_not_read_loses_lines_and_blocks_nobody(syslogd):
    daemon = syslogd()
    log = Log(settings(), Syslog("daemon"))
    for _ in range(1000):
        log.info("x")
    got = 0
    while select.select([daemon], [], [], 0)[0]:
        daemon.recv(1000)
        got += 1
    assert 0 < got < 1000
    log.info("last")
    assert daemon.recv(1000).decode().endswith(": last")
    assert daemon.recv(1000).decode().endswith(f": log lost={1000 - got}")
    log.sink.close()


def test_a_syslogd_that_was_replaced_gets_the_next_line(syslogd):
    first = syslogd()
    sink = Syslog("daemon")
    assert sink.write(INFO, "one")
    first.close()
    second = syslogd()
    assert sink.write(INFO, "two")
    assert second.recv(1000).endswith(b": two")
    sink.close()


def test_a_syslogd_that_comes_late_is_found(syslogd, monkeypatch):
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    log = Log(settings(), Syslog("daemon"))  # there is none yet: not an error
    log.info("lost")
    daemon = syslogd()
    wait_for(lambda: log.sink.write(INFO, "here"), "the syslogd to be found")
    assert daemon.recv(1000).endswith(b": here")
    assert re.search(rb": log lost=\d+$", daemon.recv(1000))
    log.info("next")
    assert daemon.recv(1000).endswith(b": next")
    log.sink.close()


def test_a_syslogd_that_is_gone_is_not_looked_for_at_every_line(syslogd, monkeypatch):
    sink = Syslog("daemon")
    daemon = syslogd()
    assert not sink.write(INFO, "too early")
    sink.reopen()
    assert sink.write(INFO, "asked for")
    assert daemon.recv(1000).endswith(b": asked for")
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    daemon.close()
    assert not sink.write(INFO, "gone")
    assert syslogd()
    assert sink.write(INFO, "back")
    sink.close()


def test_syslog_leaves_no_descriptor_open(syslogd):
    before = os.listdir("/proc/self/fd")
    for _ in range(5):
        daemon = syslogd()
        sink = Syslog("daemon")
        sink.write(INFO, "x")
        daemon.close()
        sink.write(INFO, "x")
        sink.close()
    assert os.listdir("/proc/self/fd") == before


def test_without_a_descriptor_left_a_line_is_lost_and_nothing_else(syslogd):
    daemon = syslogd()
    sink = Syslog("daemon")
    daemon.close()
    syslogd()

    def check():
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        written = sink.write(INFO, "lost")
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert not written
        assert sink.lost == 1

    isolated(check)
    sink.close()


class Stream:
    """A syslogd that reads a stream socket."""

    def __init__(self, path):
        path.unlink(missing_ok=True)
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen(1)
        self.listening.settimeout(DEADLINE)
        self.conn = None

    def accept(self):
        self.conn, _ = self.listening.accept()
        self.conn.settimeout(DEADLINE)

    def lines(self):
        """Return what has come, without the priority and the time of each line, and the beginning of another one."""
        *lines, rest = self.conn.recv(1 << 20).split(b"\0")
        return [line.partition(b"]: ")[2].decode() for line in lines], rest

    def close(self):
        for sock in (self.listening, self.conn):
            if sock:
                sock.close()


@pytest.fixture
def stream(tmp_path, monkeypatch):
    """Return a function that (again) opens the stream socket that a syslogd reads."""
    monkeypatch.setattr(module, "DEV_LOG", str(tmp_path / "log.sock"))
    opened = []

    def stream():
        opened.append(Stream(tmp_path / "log.sock"))
        return opened[-1]

    yield stream
    for one in opened:
        one.close()


def test_a_stream_socket_gets_lines_that_end(stream):
    syslogd = stream()
    sink = Syslog("daemon")
    syslogd.accept()
    for text in ("one", "two"):
        assert sink.write(INFO, text)
    assert syslogd.lines() == (["one", "two"], b"")
    sink.close()


def test_a_stream_that_is_full_tears_no_line(stream):
    syslogd = stream()
    sink = Syslog("daemon")
    syslogd.accept()
    text = "x" * 5000
    written = [sink.write(INFO, text) for _ in range(200)]
    assert not all(written)
    lines, rest = syslogd.lines()
    while sink.lost:
        sink.write(INFO, "after")
    more, end = syslogd.lines()
    assert end == b""
    torn = rest.partition(b"]: ")[2].decode() + more[0] if rest else None
    found = lines + ([torn] if rest else []) + more[1 if rest else 0 :]
    assert [line for line in found if line.startswith("x")] == [text] * sum(written)
    assert [line for line in found if line[0] != "x"] == ["after", f"log lost={written.count(False)}"]
    sink.close()


def test_a_stream_that_was_replaced_gets_the_next_line_whole(stream):
    first = stream()
    sink = Syslog("daemon")
    first.accept()
    while sink.write(INFO, "x" * 5000):  # until a line is torn
        pass
    first.close()
    second = stream()
    sink.reopen()
    second.accept()
    sink.lost = 0
    assert sink.write(INFO, "two")
    assert second.lines() == (["two"], b"")
    second.close()
    third = stream()
    assert sink.write(INFO, "three")
    third.accept()
    assert third.lines() == (["three"], b"")
    sink.close()


@pytest.mark.parametrize("first", ["stream", "datagram"])
def test_a_socket_of_the_other_kind_takes_its_place(stream, syslogd, first):
    kinds = [("stream", stream), ("datagram", syslogd)]
    (_, old), (_, new) = kinds if first == "stream" else kinds[::-1]
    before = old()
    sink = Syslog("daemon")
    assert sink.write(INFO, "one")
    before.close()
    after = new()
    assert sink.write(INFO, "two")
    if first == "datagram":
        after.accept()
        assert after.lines() == (["two"], b"")
    else:
        assert after.recv(1000).endswith(b": two")
    sink.close()


def test_a_line_that_is_too_long_for_a_datagram_is_lost_and_counted(syslogd):
    syslogd()
    sink = Syslog("daemon")
    assert not sink.write(INFO, "x" * (1 << 20))
    assert sink.lost == 1
    sink.close()
