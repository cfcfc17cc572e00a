from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from echod.cli.status import processes
from echod.cli.status.examine import Line
from echod.cli.status.text import aligned
from echod.common.errors import NOT_RUNNING, EchodError
from echod.common.launch import Launch

module: Any = processes
GOOD, BAD, UNKNOWN = Line("umask", "0022", "0022", True), Line("core", "1", "0", False), Line("cwd", "?", "/", None)


@pytest.mark.parametrize(
    ("lines", "code"), [([GOOD], 0), ([GOOD, UNKNOWN], 4), ([GOOD, UNKNOWN, BAD], 1), ([BAD, GOOD], 1)]
)
def test_the_exit_code_is_that_of_the_worst_line(monkeypatch, lines, code):
    monkeypatch.setattr(module, "PAUSE_S", 0)
    monkeypatch.setattr(module, "examine", lambda *_, **__: lines)
    text, found = module.processes(None, "", None)
    assert found == code
    assert len(text.splitlines()) == len(lines)


def test_what_is_under_way_is_looked_at_again(monkeypatch):
    monkeypatch.setattr(module, "PAUSE_S", 0)
    looks = [[BAD], [BAD, UNKNOWN], [GOOD], [BAD]]
    monkeypatch.setattr(module, "examine", lambda *_, **__: looks.pop(0))
    assert module.processes(None, "", None) == ("ok      umask  0022 (should be: 0022)", 0)


def test_lines_are_aligned_and_go_on_below_what_they_tell():
    assert aligned([GOOD, BAD], None).splitlines() == [
        "ok      umask  0022 (should be: 0022)",
        "NOT OK  core   1 (should be: 0)",
    ]
    long = aligned([Line("environment", "A " * 40, "B", None)], 50).splitlines()
    assert len(long) > 1
    assert all(len(line) <= 50 for line in long)
    assert all(line.startswith("          ") for line in long[1:])


def test_what_the_server_was_told_is_in_its_command_line():
    launch = Launch(config_file="/etc/echod=.conf", overrides=("umask=027",), uid=7)
    words = ["/opt/a=b/python", "-I", "-S", "/x/boot.py", *launch.to_items(), ""]
    assert vars(module.launch_of(SimpleNamespace(pid=1, command=words))) == vars(launch)
    assert vars(module.launch_of(SimpleNamespace(pid=1, command=[*words, "state_fd=0"]))) == vars(launch)
    for words in (["sh"], ["boot.py", "listen=nowhere"], ["boot.py", "uid=x"]):
        with pytest.raises(EchodError, match="is not a server of this version"):
            module.launch_of(SimpleNamespace(pid=1, command=words))


def test_a_daemon_that_ends_meanwhile_does_not_run():
    with pytest.raises(EchodError) as raised:
        module.examine(SimpleNamespace(pid=1 << 22, wait=lambda _: True), "/x", show_all=False)
    assert raised.value.code == NOT_RUNNING


def test_what_root_may_not_read_either_is_one_line_and_the_daemon_has_not_ended(monkeypatch):
    monkeypatch.setattr("echod.cli.proc.ROOT", "/nowhere")
    (line,) = module.examine(SimpleNamespace(pid=1, wait=lambda _: False), "/x", show_all=False)
    assert line.ok is None
    assert "/nowhere/1/stat: No such file or directory" in line.found


WORDS = ("config_file=/dev/null", "set=umask=9", "set=log=./x", "listen=a:1", "uid=7", "gid=-7", "base=/", "ready_fd=1")
VALUES = ("", "1", "-1", "9" * 5000, "\u0663", "\x1b[2J", "=", "\udcff", "a:" + "9" * 5000, "[::1]:7")


def test_any_argument_is_read_or_refused_in_one_line():
    """The holder of the lock may have been executed with any words, each of which has the name of a field, or not."""
    names = {word.partition("=")[0] for word in WORDS} | {*dir(Launch)}
    for name in names:
        for value in VALUES:
            with contextlib.suppress(EchodError):
                launch = module.launch_of(SimpleNamespace(pid=1, command=["boot.py", f"{name}={value}"]))
                assert vars(launch).keys() <= Launch.fields().keys()
