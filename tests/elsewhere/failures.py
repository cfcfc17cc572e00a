"""The tests that fail today, by place, and why. A test that passes must be removed from this table."""

from __future__ import annotations

TIME = "the time limits of sockets are set with two longs, where 32-bit Linux with 64-bit time takes two 8-byte numbers"
PIDFD = "commands call pidfd_open(2) to find the daemon; without it they fail: Function not implemented"
NO_IPV4 = "`*:PORT` needs an IPv4 socket: without one the daemon does not listen on IPv6 either"
NAME = "if a name has an address that the machine lacks, the daemon does not listen on its other addresses either"
UNNAMED = "the message names what `listen` says and not the address that the machine lacks"

COMMANDS = ("test_status", "test_reload", "test_reload_to_another_address", "test_upgrade", "test_stop")
SERVICE = ("test_start", "test_echo", "test_echoc", "test_limits")
NO_IPV6 = ("no-ipv6-address", "no-ipv6-family")
ALONE = (*NO_IPV6, "ipv6-only", "no-ipv4-family")

FAILURES: dict[tuple[str, str], str] = {}
for _tests, _places, _reason in (
    (SERVICE + COMMANDS, ("armhf",), TIME),
    (COMMANDS, ("linux-4.18",), PIDFD),
    ([test for test in SERVICE + COMMANDS if test != "test_reload_to_another_address"], ("no-ipv4-family",), NO_IPV4),
    (("test_a_name_stands_for_the_addresses_that_the_machine_has",), ALONE, NAME),
    (("test_a_name_of_which_the_machine_has_no_address",), ALONE, UNNAMED),
):
    FAILURES |= {(test, place): _reason for test in _tests for place in _places}
