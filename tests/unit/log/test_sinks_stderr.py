from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from echod.common import journal as module
from echod.log.log import ERROR, INFO
from echod.log.sinks import PIPE_BUF, Stderr
from support.processes import isolated

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4}"


def through_pipe(function):
    """Run a function in a child whose stderr is a pipe, and return what it wrote."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.dup2(write_end, 2)
            os.close(write_end)
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)
            function(read_end)
            code = 0
        finally:
            os._exit(code)
    os.close(write_end)
    with open(read_end) as file:
        text = file.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, text
    return text


def test_stderr_gets_a_line_with_time_and_pid():
    assert re.fullmatch(rf"{STAMP} echod\[\d+\]: ready\n", through_pipe(lambda _: Stderr().write(INFO, "ready")))


def test_a_journal_gets_the_level_instead(monkeypatch):
    def write(_):
        status = os.fstat(2)
        monkeypatch.setattr(module, "environ", {b"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}".encode()})
        sink = Stderr()
        sink.write(ERROR, "one")
        sink.write(INFO, "two")

    assert through_pipe(write) == "<3>one\n<6>two\n"


def test_stderr_that_was_redirected_from_the_journal_has_the_time(monkeypatch):
    def write(_):
        monkeypatch.setattr(module, "environ", {b"JOURNAL_STREAM": b"8:1"})
        Stderr().write(INFO, "ready")

    assert re.match(STAMP, through_pipe(write))


@pytest.mark.parametrize("length", [10, 4000, 10_000])
def test_a_full_pipe_blocks_nobody(length):
    def check():
        read_end, write_end = os.pipe()
        os.dup2(write_end, 2)
        sink = Stderr()
        lost = 0
        while lost < 3:
            lost += not sink.write(INFO, "x" * length)
        os.close(read_end)

    isolated(check)


def test_a_line_too_long_for_a_pipe_is_cut():
    def write(_):
        Stderr().write(INFO, "x" * 10_000)
        Stderr().write(INFO, "next")

    first, second = through_pipe(write).splitlines()
    assert len(first) == PIPE_BUF - 1
    assert second.endswith(": next")


def test_a_pipe_without_a_reader_loses_lines():
    def check():
        read_end, write_end = os.pipe()
        os.close(read_end)
        kept = os.dup(2)
        os.dup2(write_end, 2)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        written = Stderr().write(INFO, "nobody reads this")
        os.dup2(kept, 2)
        assert not written

    isolated(check)


def test_a_closed_stderr_is_no_error():
    def check():
        kept = os.dup(2)
        os.close(2)
        sink = Stderr()
        written = sink.write(INFO, "nowhere")
        sink.reopen()
        sink.close()
        os.dup2(kept, 2)
        assert not written
        assert Path("/proc/self/fd/2").exists()

    isolated(check)
