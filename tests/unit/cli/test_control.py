from __future__ import annotations

import socket
import threading

import pytest

from echod.cli import control
from echod.common.errors import FAILED, USAGE, EchodError
from support.wait import need_localhost


def test_settings_that_the_daemon_was_started_with_are_understood():
    control.check_overrides([], [])
    control.check_overrides(["a = 1", "pid_file=/x"], ["b=2", "a=1", "c=1\n\t2"])


@pytest.mark.parametrize(("given", "started_with"), [(["a=1"], []), (["a=1"], ["a=2"]), (["a=1", "b=2"], ["a=1"])])
def test_other_settings_are_a_usage_error(given, started_with):
    with pytest.raises(EchodError, match=f"^reload: -o {given[-1]}: ") as caught:
        control.check_overrides(given, started_with)
    assert caught.value.code == USAGE


def test_what_needs_no_resolver_is_found():
    control.look_up([("*", 7), ("127.0.0.1", 7), ("::1", 7)])


def test_a_name_in_etc_hosts_is_found():
    need_localhost()
    control.look_up([("localhost", 7)])


def test_a_resolver_that_fails_or_does_not_answer(monkeypatch):
    monkeypatch.setattr(control, "LOOKUP", 0.05)
    released = threading.Event()

    def getaddrinfo(host, *_args, **_kwargs):
        if host == "mute":
            released.wait()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for host, why in (("none", "Name or service not known"), ("mute", "no answer from the resolver")):
        with pytest.raises(EchodError, match=f"^cannot listen on {host}:7: {why}") as caught:
            control.look_up([(host, 7)])
        assert caught.value.code == FAILED
    released.set()
