from __future__ import annotations

import argparse
import errno
import subprocess
import sys

import pytest
from lockfile import LockFailed

from echod.cli import lifecycle, main
from echod.common.config.settings import SETTINGS
from echod.common.errors import ConfigError


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("x:3: user: is bad\nand more"), 6, "echod: x:3: user: is bad and more\n"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 4, "echod: /x: Permission denied\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "echod: No space left on device\n"),
        (LockFailed("/x.pid: is a symbolic link"), 1, "echod: /x.pid: is a symbolic link\n"),
        (KeyboardInterrupt(), 130, "echod: interrupted\n"),
    ],
)
def test_an_error_is_one_line_and_a_code(monkeypatch, capsys, error, code, line):
    def start(_args):
        raise error

    monkeypatch.setattr(lifecycle, "start", start)
    assert main.main(["start"]) == code
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    "words",
    [
        "-c f -o a=1 -o b=2 stop --timeout 3 --force",
        "stop --timeout 3 --force -c f -o a=1 -o b=2",
        "-o a=1 stop --timeout 3 -o b=2 --force -c f",
        "-c other -o a=1 stop -c f --force -o b=2 --timeout 3",
    ],
)
def test_c_and_o_are_understood_before_and_after_the_command(words):
    args = main.parse(words.split())
    assert (args.config, args.options, args.command, args.timeout, args.force) == ("f", ["a=1", "b=2"], "stop", 3, True)


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_takes_c_and_o(name):
    args = main.parse([name, "-c", "f", "-o", "a=1"])
    assert (args.config, args.options) == ("f", ["a=1"])
    args = main.parse([name])
    assert (args.config, args.options) == (None, [])


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1e12", "soon"])
def test_what_is_no_number_of_seconds(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number of seconds"):
        main.seconds(text)


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_has_its_function_and_a_help(name, capsys):
    with pytest.raises(SystemExit) as caught:
        main.main([name, "--help"])
    assert caught.value.code == 0
    assert f"echod {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", SETTINGS)
def test_help_knows_each_setting(name, capsys):
    assert main.main(["help", name]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{SETTINGS[name].help}\ndefault  ")
    assert f"\nallowed  {SETTINGS[name].kind.allowed}\nreload   " in said


def test_a_command_loads_no_more_than_it_needs():
    code = "import sys; from echod.cli import main; main.main(['inetd']); print('daemon' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.stdout == "False\n"
    assert "standard input is no connected socket" in done.stderr
