from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct

import pytest

from echod.common.bind_errors import BindError
from echod.common.errors import FAILED, NOT_PERMITTED
from echod.common.sockets import bind, bind_all, open_shared
from support.processes import CLONE_NEWNET, NOBODY, isolated, namespaces
from support.sockets import accept, port_of, port_of_its_own, settings
from support.wait import DEADLINE, need_localhost, need_root, skip

CONFIG = settings()


def complaint(*addresses):
    with pytest.raises(BindError) as caught:
        bind_all(list(addresses), CONFIG)
    return str(caught.value), caught.value.code


def has_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="needs IPv6")


@needs_ipv6
def test_any_address_is_both_families_on_one_port(bound):
    four, six = bound("*", 0)
    assert four.sock.family == socket.AF_INET
    assert six.sock.family == socket.AF_INET6
    assert port_of(four) == port_of(six) != 0
    assert (four.name, six.name) == (f"0.0.0.0:{port_of(four)}", f"[::]:{port_of(six)}")
    assert four.address == six.address == ("*", 0)


@needs_ipv6
def test_each_family_takes_its_own_clients(bound):
    four, six = bound("*", 0)
    for one, host in ((four, "127.0.0.1"), (six, "::1")):
        with socket.create_connection((host, port_of(one)), timeout=DEADLINE) as conn:
            fd, peer = accept(one)
            assert peer[:2] == conn.getsockname()[:2]
            os.close(fd)


def forbid_ipv6():
    """Let socket(AF_INET6) fail, as in a kernel without IPv6: a filter for seccomp(2), in classic BPF."""
    number = {"x86_64": 41, "aarch64": 198}.get(platform.machine())
    if number is None:
        skip("a processor whose number of socket(2) the test knows")
    program = [
        (0x20, 0, 0, 0),  # load the system call's number
        (0x15, 0, 3, number),
        (0x20, 0, 0, 16),  # load its first argument
        (0x15, 0, 1, socket.AF_INET6),
        (0x06, 0, 0, 0x00050000 | errno.EAFNOSUPPORT),
        (0x06, 0, 0, 0x7FFF0000),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS"
    assert libc.prctl(22, 2, struct.pack("HP", len(program), ctypes.addressof(code)), 0, 0) == 0, "PR_SET_SECCOMP"


def test_where_there_is_no_ipv6_any_address_is_ipv4_alone():
    def check():
        forbid_ipv6()
        (only,) = bind(("*", 0), CONFIG)
        assert only.sock.family == socket.AF_INET
        assert "Address family not supported" in complaint(("::1", 0))[0]

    isolated(check)


def test_where_no_interface_has_ipv6_ipv4_is_served():
    need_root()

    def check():
        with open("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w") as file:
            file.write("1")
        assert bind(("*", 0), CONFIG)[0].sock.family == socket.AF_INET
        assert "no interface has this address" in complaint(("::1", 0))[0]

    namespaces(CLONE_NEWNET, check)


def test_a_host_is_all_its_addresses(bound):
    need_localhost()
    found = bound("localhost", 0)
    assert {one.sock.getsockname()[0] for one in found} <= {"127.0.0.1", "::1"}
    assert all(one.address == ("localhost", 0) for one in found)


def test_an_address_in_use_is_named_with_the_way_out(bound):
    (one,) = bound("127.0.0.1", 0)
    text = f"cannot listen on 127.0.0.1:{port_of(one)}: Address already in use; `echod check` names"
    message, code = complaint(("127.0.0.1", port_of(one)))
    assert message.startswith(text)
    assert code == FAILED


@needs_ipv6
def test_a_port_that_only_ipv6_has_in_use_is_named_and_nothing_stays_open(bound):
    (six,) = bound("::", 0)
    before = os.listdir("/proc/self/fd")
    assert f"cannot listen on [::]:{port_of(six)}: Address already in use" in complaint(("*", port_of(six)))[0]
    assert os.listdir("/proc/self/fd") == before


def test_an_address_of_someone_else_is_named():
    message, code = complaint(("192.0.2.1", 0))
    assert message.startswith(
        "cannot listen on 192.0.2.1:0: Cannot assign requested address; no interface has this address, "
    )
    assert code == FAILED


def test_a_host_that_is_unknown_is_named_and_not_called_an_address():
    for host in ("no-such-host.invalid", "x" * 70, "a..b"):
        message, code = complaint((host, 7))
        assert message.startswith(f"cannot listen on {host}:7: ")
        assert "interface" not in message
        assert code == FAILED


def test_a_policy_may_refuse_any_port():
    refused = OSError(errno.EACCES, os.strerror(errno.EACCES))
    assert "a security policy refuses this port (SELinux" in str(BindError("*:27978", refused))
    assert "1024" not in str(BindError("[::1]:27978", refused))


def test_an_interface_is_not_a_host():
    message, code = complaint(("lo", 7))
    assert message.endswith("; lo is an interface; `ip -br address show dev lo` lists its addresses")
    assert code == FAILED


def test_a_port_for_root_is_not_permitted_to_others():
    def check():
        if os.geteuid() == 0:
            os.setresuid(NOBODY, NOBODY, NOBODY)
        message, code = complaint(("127.0.0.1", 7))
        assert message.startswith(
            "cannot listen on 127.0.0.1:7: Permission denied; ports below 1024 need CAP_NET_BIND_SERVICE: "
        )
        assert code == NOT_PERMITTED

    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
        if int(file.read()) <= 7:
            skip("ports that are for root alone")
    isolated(check)


def test_all_addresses_are_bound_or_none(bound):
    (busy,) = bound("127.0.0.1", 0)
    before = os.listdir("/proc/self/fd")
    complaint(("127.0.0.1", 0), ("localhost", 0), ("127.0.0.1", port_of(busy)))
    assert os.listdir("/proc/self/fd") == before
    found = bind_all([("127.0.0.1", 0), ("127.0.0.2", 0)], CONFIG)
    assert [one.address for one in found] == [("127.0.0.1", 0), ("127.0.0.2", 0)]
    for one in found:
        one.close()


def test_a_port_left_in_time_wait_can_be_bound_at_once(bound):
    (one,) = bound("127.0.0.1", 0)
    port = port_of(one)
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as conn:
        fd, _ = accept(one)
        os.close(fd)  # the server's side closes first and keeps the port
        assert conn.recv(1) == b""
    one.close()
    assert port_of(*bound("127.0.0.1", port)) == port


def test_overlapping_addresses_can_be_shared_for_a_moment(bound):
    (old,) = bound("127.0.0.1", port_of_its_own())
    old.share(True)
    found = bound("*", port_of(old), opener=open_shared)
    for one in (old, *found):
        one.share(False)
    assert "in use" in complaint(("127.0.0.1", port_of(old)))[0]


def test_no_connection_begins_at_one_that_is_unlisted_but_those_there_are_served(bound):
    (one,) = bound("127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", port_of(one)), timeout=DEADLINE) as conn:
        one.unlist()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port_of(one)), timeout=DEADLINE)
        fd, peer = accept(one)
        assert peer == conn.getsockname()
        os.close(fd)


def test_a_copy_of_one_that_was_stopped_listens_no_more(bound):
    (one,) = bound("127.0.0.1", 0)
    with socket.socket(fileno=os.dup(one.fd)) as copy:
        one.stop()
        one.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(copy.getsockname(), timeout=DEADLINE)
