from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.echoc.options import destination, port, size
from support.wait import need

if TYPE_CHECKING:
    from support.kinds import Echoc, StartServer


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("1000", 1000), ("64k", 65536), ("64KiB", 65536), ("2M", 2 << 20), ("1GiB", 1 << 30), ("5b", 5)],
)
def test_sizes(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "HOST"),
        (("localhost", "0"), "'0' is neither a port (1 to 65535) nor a service"),
        (("localhost", "65536"), "65536"),
        (("localhost", "no-such-service"), "no-such-service"),
        (("localhost:0",), "'0' is neither a port (1 to 65535) nor a service"),
        (("localhost:",), "'localhost:' is not HOST or HOST:PORT"),
        (("-p", "x", "localhost"), "'x' is neither a port"),
        (("localhost:7", "8"), "the port is given twice: 7 and 8"),
        (("-p", "7", "[::1]:7"), "the port is given twice: 7 and 7"),
        (("--verify", "--ping", "localhost"), "--verify and --ping: use one of them"),
        (("-P", "2", "localhost"), "-P: only with --verify"),
        (("--json", "localhost"), "--json: only with --verify or --ping or --check"),
        (("-w", "2", "--ping", "localhost"), "-w: only with --check"),
        (("--histogram", "localhost"), "--histogram: only with --ping"),
        (("--verify", "-s", "0", "localhost"), "'0' is not a size above 0"),
        (("--verify", "-s", "12 parsecs", "localhost"), "'12 parsecs' is not a size"),
        (("--verify", "-P", "0", "localhost"), "'0' is not a whole number above 0"),
        (("--verify", "--pattern", "byte,bite", "localhost"), "pattern 'bite': unknown; the patterns are byte, 16KiB"),
        (("--ping", "-c", "0.5", "localhost"), "-c: must be a whole number"),
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


@pytest.mark.parametrize(
    "form", ["{0} {1}", "{0}:{1}", "-p {1} {0}", "--port {1} {0}", "{0} -p {1}", "[::1]:{2}", "::1 {2}"]
)
def test_a_port_is_written_as_people_do(echoc: Echoc, server: StartServer, form: str) -> None:
    text = form.format(
        "127.0.0.1", server("right") if "{1}" in form else 0, server("right", "::1") if "{2}" in form else 0
    )
    result = echoc(*text.split(), input=b"hello")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"hello", b"")


def test_help_and_version(echoc: Echoc) -> None:
    help_text = echoc("--help").stdout.decode()
    for word in ("--verify", "--ping", "--check", "--proxy", "late-reader", "exit status", "examples"):
        assert word in help_text
    assert echoc("--version").stdout.decode() == f"echoc {importlib.metadata.version('echod')}\n"


@pytest.mark.parametrize(
    ("text", "host", "number"),
    [
        ("localhost", "localhost", ""),
        ("localhost:7", "localhost", "7"),
        ("192.0.2.7:echo", "192.0.2.7", "echo"),
        ("::1", "::1", ""),
        ("[::1]", "::1", ""),
        ("[::1]:7", "::1", "7"),
        ("[fe80::1%eth0]:7", "fe80::1%eth0", "7"),
        ("fe80::1%eth0", "fe80::1%eth0", ""),
    ],
)
def test_a_destination(text: str, host: str, number: str) -> None:
    assert destination(text) == (host, number)


@pytest.mark.parametrize("text", ["", ":", ":7", "host:", "[::1", "[::1]:", "[::1]7", "[]:7", "[host]:7", "["])
def test_what_is_no_destination(text: str) -> None:
    with pytest.raises(ValueError, match="is not "):
        destination(text)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_any_address_with_and_without_a_port(address: object, number: int) -> None:
    host = str(address)
    with_port = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
    assert destination(host) == (host, "")
    assert destination(with_port) == (host, str(number))


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("65535", 65535)])
def test_a_port(text: str, value: int) -> None:
    assert port(text) == value


def test_the_name_of_a_service() -> None:
    need("/etc/services")
    assert port("ssh") == 22


@pytest.mark.parametrize("text", ["0", "65536", "no-such-service", "-1", "٣"])
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(ValueError, match="is neither a port"):
        port(text)
