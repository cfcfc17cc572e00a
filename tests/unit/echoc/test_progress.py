from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from echod.echoc.progress import Progress, remaining

if TYPE_CHECKING:
    from pathlib import Path

    from support.kinds import StartEchoc


def test_progress_bar_for_those_who_wait(start_echoc: StartEchoc, echo_server: tuple[str, int]) -> None:
    screen, terminal = pty.openpty()
    process = start_echoc(*echo_server, stderr=terminal)
    os.close(terminal)
    process.stdin.write(b"x" * 1000)
    assert process.stdout.read(1000)
    os.set_blocking(screen, False)
    shown = b""
    while b"B/s" not in shown:  # each byte that comes back after the first second may bring it
        process.stdin.write(b"x")
        process.stdout.read(1)
        try:
            shown += os.read(screen, 4096)
        except BlockingIOError:
            continue
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    os.close(screen)


def test_no_progress_bar_for_the_quick(start_echoc: StartEchoc, echo_server: tuple[str, int]) -> None:
    screen, terminal = pty.openpty()
    process = start_echoc(*echo_server, stderr=terminal, stdin=subprocess.DEVNULL)
    os.close(terminal)
    assert process.wait(timeout=60) == 0
    with pytest.raises(OSError, match="Input/output error"):  # the end of a terminal on which nothing was written
        os.read(screen, 1)
    os.close(screen)


def test_without_tqdm_a_stream_goes_on_without_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with open("/dev/null", "rb") as file, Progress(file.fileno(), file.fileno()) as progress:
        monkeypatch.setattr(progress, "_wanted", True)
        monkeypatch.setattr(progress, "_start", progress._start - 10)
        progress.show(1)
        progress.show(2)
        assert progress._bar is None


def test_the_size_of_a_file_is_what_is_left_of_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1234567890")
    with open(tmp_path / "file", "rb", buffering=0) as file:
        file.seek(4)
        assert remaining(file.fileno()) == 6
        file.seek(40)
        assert remaining(file.fileno()) == 0


def test_a_pipe_and_a_closed_descriptor_have_no_size() -> None:
    reading, writing = os.pipe()
    assert remaining(reading) is None
    for descriptor in (reading, writing):
        os.close(descriptor)
    assert remaining(reading) is None
