from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from echod.cli.status import examine
from echod.cli.status.examine import Line
from echod.cli.status.text import aligned
from echod.common.errors import NOT_RUNNING, EchodError
from echod.common.launch import Launch

module: Any = examine
GOOD, BAD, UNKNOWN = Line("umask", "0022", "0022", True), Line("core", "1", "0", False), Line("cwd", "?", "/", None)


@pytest.mark.parametrize(
    ("lines", "code"), [([GOOD], 0), ([GOOD, UNKNOWN], 4), ([GOOD, UNKNOWN, BAD], 1), ([BAD, GOOD], 1)]
)
def test_the_exit_code_is_that_of_the_worst_line(monkeypatch, lines, code):
    monkeypatch.setattr(module, "PAUSE_S", 0)
    monkeypatch.setattr(module, "examine", lambda _daemon: lines)
    text, found = module.processes(None, None)
    assert found == code
    assert len(text.splitlines()) == len(lines)


def test_what_is_under_way_is_looked_at_again(monkeypatch):
    monkeypatch.setattr(module, "PAUSE_S", 0)
    looks = [[BAD], [UNKNOWN], [GOOD], [BAD]]
    monkeypatch.setattr(module, "examine", lambda _daemon: looks.pop(0))
    assert module.processes(None, None) == ("ok      umask  0022 (should be: 0022)", 0)


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


def test_settings_that_cannot_be_read_are_none():
    launch = Launch(config_file="/dev/null", base="/")
    assert module.config_of(launch).umask == 0o022
    assert module.config_of(launch.replace(overrides=("umask=9",))) is None


def test_a_daemon_that_ends_meanwhile_does_not_run():
    with pytest.raises(EchodError) as raised:
        module.examine(SimpleNamespace(pid=1 << 22))
    assert raised.value.code == NOT_RUNNING
