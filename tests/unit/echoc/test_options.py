from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

import pytest

from echod.echoc.options import port, size

if TYPE_CHECKING:
    from support.kinds import Echoc


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("1000", 1000), ("64k", 65536), ("64KiB", 65536), ("2M", 2 << 20), ("1GiB", 1 << 30), ("5b", 5)],
)
def test_sizes(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("65535", 65535), ("ssh", 22)])
def test_ports(text: str, value: int) -> None:
    assert port(text) == value


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "HOST"),
        (("localhost", "0"), "'0' is neither a port (1 to 65535) nor a service"),
        (("localhost", "65536"), "65536"),
        (("localhost", "no-such-service"), "no-such-service"),
        (("--verify", "--ping", "localhost"), "--verify and --ping: one at a time"),
        (("-P", "2", "localhost"), "-P: only with --verify"),
        (("-w", "2", "--ping", "localhost"), "-w: only with --check"),
        (("--histogram", "localhost"), "--histogram: only with --ping"),
        (("--verify", "-s", "0", "localhost"), "'0' is not a size above 0"),
        (("--verify", "-s", "12 parsecs", "localhost"), "'12 parsecs' is not a size"),
        (("--verify", "-P", "0", "localhost"), "'0' is not a whole number above 0"),
        (("--verify", "--pattern", "byte,bite", "localhost"), "pattern 'bite': unknown; there are byte, 16KiB"),
        (("--ping", "-c", "0.5", "localhost"), "-c: a whole number"),
        (("--ping", "-i", "-1", "localhost"), "-i"),
        (("--timeout", "0", "localhost"), "--timeout: must be above 0"),
        (("--timeout", "nan", "localhost"), "'nan' is not a number"),
        (("--verif", "localhost"), "--verif"),
    ],
)
def test_usage_errors_are_one_line(echoc: Echoc, arguments: tuple[object, ...], words: str) -> None:
    result = echoc(*arguments)
    text = result.stderr.decode()
    assert result.returncode == 2
    assert text.startswith("echoc: usage: ")
    assert text.count("\n") == 1
    assert words in text
    assert "echoc --help" in text


def test_help_and_version(echoc: Echoc) -> None:
    help_text = echoc("--help").stdout.decode()
    for word in ("--verify", "--ping", "--check", "--proxy", "late-reader", "exit status", "examples"):
        assert word in help_text
    assert echoc("--version").stdout.decode() == f"echoc {importlib.metadata.version('echod')}\n"
