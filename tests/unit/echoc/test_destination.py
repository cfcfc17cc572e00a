from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.echoc.destination import destination, port
from support.wait import need


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
