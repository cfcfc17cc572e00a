from __future__ import annotations

import os
import socket

import pytest

from echod.server import notify
from echod.server.notify import Notify
from support.processes import isolated
from support.wait import DEADLINE


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path, monkeypatch):
    """Return a service manager's socket, which NOTIFY_SOCKET names."""
    name = str(tmp_path / "notify") if request.param == "path" else f"\0echod-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name)
        sock.settimeout(DEADLINE)
        monkeypatch.setattr(notify, "environ", {b"NOTIFY_SOCKET": name.replace("\0", "@").encode()})
        yield sock


@pytest.fixture
def nobody(monkeypatch):
    """See that there is no service manager."""
    monkeypatch.setattr(notify, "environ", {})


def test_a_service_manager_gets_a_datagram_for_each_event(manager):
    told = Notify(-1)
    told.ready("serving on 127.0.0.1:7")
    assert manager.recv(1000) == b"READY=1\nSTATUS=serving on 127.0.0.1:7"
    told.reloading()
    words = dict(line.split("=") for line in manager.recv(1000).decode().split("\n"))
    assert words["RELOADING"] == "1"
    assert int(words["MONOTONIC_USEC"]) > 0
    told.stopping()
    assert manager.recv(1000) == b"STOPPING=1\nSTATUS=draining"
    told.failed(6, "a bad config")
    assert manager.recv(1000) == b"STATUS=a bad config"


def test_a_reason_that_is_not_utf8_is_told_all_the_same(manager):
    ours, theirs = os.pipe()
    Notify(theirs).failed(1, os.fsdecode(b"/etc/\xff: no"))
    assert manager.recv(1000) == b"STATUS=/etc/\xff: no"
    assert os.read(ours, 100) == b"1 /etc/\xff: no"
    os.close(ours)
    os.close(theirs)


def test_a_service_manager_that_does_not_read_stops_nothing(manager):
    told = Notify(-1)
    for _ in range(1000):
        told.stopping()
    assert manager.recv(1000) == b"STOPPING=1\nSTATUS=draining"


def test_a_service_manager_that_is_gone_stops_nothing(manager):
    told = Notify(-1)
    manager.close()
    told.ready("serving")


def test_no_descriptor_is_left_open(manager):
    before = os.listdir("/proc/self/fd")
    told = Notify(-1)
    told.ready("serving")
    manager.close()
    told.stopping()
    assert len(os.listdir("/proc/self/fd")) == len(before) - 1


@pytest.mark.usefixtures("nobody")
def test_a_notification_descriptor_gets_a_newline_and_is_closed():
    ours, theirs = os.pipe()
    told = Notify(theirs)
    told.stopping()
    told.ready("serving")
    assert os.read(ours, 100) == b"\n"
    assert os.read(ours, 100) == b""
    told.ready("serving again")  # after a reload
    os.close(ours)


@pytest.mark.usefixtures("nobody")
def test_a_failure_is_code_and_reason_on_one_line_without_an_end():
    ours, theirs = os.pipe()
    Notify(theirs).failed(6, "two\nlines")
    os.close(theirs)
    assert os.read(ours, 100) == b"6 two lines"
    os.close(ours)


@pytest.mark.usefixtures("nobody")
def test_a_start_that_was_interrupted_is_noticed():
    def check():
        ours, theirs = os.pipe()
        os.close(ours)
        with pytest.raises(BrokenPipeError):
            Notify(theirs).ready("serving")

    isolated(check)


@pytest.mark.usefixtures("nobody")
def test_with_nobody_to_tell_nothing_happens():
    told = Notify(-1)
    for tell in (told.reloading, told.stopping):
        tell()
    told.ready("serving")
    told.failed(1, "why")
