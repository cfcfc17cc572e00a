from __future__ import annotations

import json
import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from echod import __version__
from echod.common.handover import Handover
from echod.server.execute import TRIAL, collect, execute, fork_trial
from echod.server.lean.slots import Child
from support.processes import fork, reap
from support.sockets import settings

SCRIPT = """
import json, os, sys
fds = [int(name) for name in os.listdir("/proc/self/fd")]
print(json.dumps([sys.argv[1:], sorted(fd for fd in fds if os.path.exists(f"/proc/self/fd/{fd}"))]), flush=True)
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Have a script executed in place of the server."""
    (tmp_path / "boot.py").write_text(SCRIPT)
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-I", "-S", str(tmp_path / "boot.py"), "log=syslog"])
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "boot.py"), "log=syslog"])


@pytest.fixture
def handover():
    handover = Handover()
    handover.state_fd, handover.board_fd = os.memfd_create("state"), os.memfd_create("board")
    yield handover
    os.close(handover.state_fd)
    os.close(handover.board_fd)


def said(fd):
    return json.loads(os.pread(fd, 1 << 16, 0))


@pytest.mark.usefixtures("program")
@pytest.mark.parametrize("on_trial", [False, True])
def test_it_is_executed_with_the_same_words_and_what_it_needs_is_open(handover, on_trial):
    other, output = os.memfd_create("other"), os.memfd_create("output")

    def replaced():
        os.dup2(output, 1)
        execute(handover)

    pid = fork_trial(handover, output) if on_trial else fork(replaced)
    assert reap(pid) == 0
    words, fds = said(output)
    assert words == [*([TRIAL] if on_trial else []), *handover.to_words()]
    assert {0, 1, 2, handover.state_fd, handover.board_fd} <= set(fds)
    assert not {other, output} & set(fds)
    os.close(other)
    os.close(output)


def test_a_trial_that_cannot_be_executed_says_so(handover, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    output = os.memfd_create("output")
    assert reap(fork_trial(handover, output)) == 1
    assert os.pread(output, 100, 0) == b"1 cannot execute /nowhere/python: No such file or directory\n"
    os.close(output)


def test_what_is_handed_on(handover):
    handover.uid = handover.gid = 5
    child = Child(640)
    child.address, child.named = ("127.0.0.1", 7), True
    children: Any = SimpleNamespace(table={4711: child}, log=SimpleNamespace(sink=SimpleNamespace(lost=3)))
    listener: Any = SimpleNamespace(fd=9, address=settings().listen[0])
    collect(handover, children, [listener])
    read = Handover.from_words(handover.to_words())
    read.read_state()
    assert (read.sockets, read.addresses) == ([9], [("*", 27978)])
    assert (read.version, read.lost, read.uid) == (__version__, 3, 5)
    assert read.children == [(4711, 640, 1, ("127.0.0.1", 7))]
