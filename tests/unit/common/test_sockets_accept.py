from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import socket
import struct

import pytest

from echod.common.errors import ConfigError
from echod.common.socket_options import IDLE_SHARE
from echod.common.sockets import CLIENT_ERRORS, adopt, is_client_error
from support.processes import isolated
from support.sockets import accept, port_of, receive_all, settings
from support.wait import DEADLINE


def test_there_may_be_nobody_to_accept(bound):
    (one,) = bound("127.0.0.1", 0)
    with pytest.raises(BlockingIOError) as caught:
        one.accept()
    assert is_client_error(caught.value)


def test_a_client_that_is_accepted_has_a_descriptor_of_its_own_and_an_address(bound):
    (one,) = bound("127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", port_of(one)), timeout=DEADLINE) as conn:
        fd, peer = accept(one)
        assert peer == conn.getsockname()
        assert not os.get_inheritable(fd)
        assert os.get_blocking(fd)
        os.close(fd)


def test_being_out_of_descriptors_is_raised_and_the_client_stays_in_the_backlog(bound):
    (one,) = bound("127.0.0.1", 0)

    def check():
        conn = socket.create_connection(("127.0.0.1", port_of(one)), timeout=DEADLINE)
        assert select.select([one.fd], [], [], DEADLINE)[0]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(one.fd, conn.fileno()) + 1, hard))
        with contextlib.suppress(OSError):
            while True:
                os.dup(0)
        with pytest.raises(OSError, match="Too many") as caught:
            one.accept()
        assert caught.value.errno == errno.EMFILE
        assert not is_client_error(caught.value)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert one.accept() is not None

    isolated(check)


@pytest.mark.parametrize("number", sorted(CLIENT_ERRORS), ids=errno.errorcode.get)
def test_an_error_of_the_client_is_not_ours(number):
    assert is_client_error(OSError(number, os.strerror(number)))


@pytest.mark.parametrize(
    "number",
    [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EBADF, errno.EPERM],
    ids=errno.errorcode.get,
)
def test_an_error_of_the_system_is_told_from_it(number):
    assert not is_client_error(OSError(number, os.strerror(number)))


def accepted(one):
    """Return the server's end of a new connection."""
    with socket.create_connection(("127.0.0.1", port_of(one)), timeout=DEADLINE):
        return socket.socket(fileno=accept(one)[0])


def test_accepted_sockets_inherit_the_options(bound):
    (one,) = bound("127.0.0.1", 0, config=settings("keepalive=30s", "idle_timeout=1500ms"))
    with accepted(one) as conn:
        assert conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert conn.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
        assert conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 10
        assert conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
        assert conn.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE) == 1
        assert conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0, "it ends living peers that pause"
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            seconds, micros = struct.unpack("ll", conn.getsockopt(socket.SOL_SOCKET, option, 16))
            assert abs(seconds + micros / 1e6 - 1.5 * IDLE_SHARE) < 0.02  # the kernel counts in ticks


def test_options_are_turned_off_again(bound):
    (one,) = bound("127.0.0.1", 0, config=settings("keepalive=30s", "idle_timeout=1s"))
    one.tune(settings("keepalive=never", "idle_timeout=never"))
    with accepted(one) as conn:
        assert conn.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
        assert conn.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == bytes(16)


@pytest.mark.parametrize("text", ["keepalive=8760h", "keepalive=1s", "idle_timeout=1ms", "idle_timeout=8760h"])
def test_the_kernel_takes_the_extremes(bound, text):
    bound("127.0.0.1", 0, config=settings(text))


def test_the_backlog_can_be_changed(bound):
    (one,) = bound("127.0.0.1", 0, config=settings("backlog=3"))

    def backlog():
        return one.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)[
            28
        ]  # tcpi_sacked: of a listener, its backlog

    assert backlog() == 3
    one.tune(settings("backlog=5"))
    assert backlog() == 5


def test_passed_sockets_are_adopted_as_they_are(bound):
    (one,) = bound("127.0.0.1", 0)

    def check():
        os.dup2(one.fd, 3, inheritable=True)
        (found,) = adopt([None])
        assert (found.fd, found.name, found.address) == (3, one.name, None)
        assert not os.get_inheritable(3)
        assert not os.get_blocking(3)
        with accepted(found) as conn:
            assert conn.getsockname() == one.sock.getsockname()

    isolated(check)


@pytest.mark.parametrize("kind", ["closed", "file", "unix", "udp", "bound"])
def test_what_is_no_listening_tcp_socket_is_not_adopted(kind):
    def check():
        pair = socket.socketpair()
        udp, tcp = socket.socket(type=socket.SOCK_DGRAM), socket.socket()
        udp.bind(("127.0.0.1", 0))
        tcp.bind(("127.0.0.1", 0))
        os.closerange(3, 4)
        fds = {
            "file": 0,
            "unix": pair[0].fileno(),
            "udp": udp.fileno(),
            "bound": tcp.fileno(),
            "connected": pair[1].fileno(),
        }
        if kind != "closed":
            os.dup2(fds[kind], 3)
        with pytest.raises((OSError, ConfigError), match=r"Bad file|on non-socket|3: is not a listening TCP"):
            adopt([None])
        os._exit(0)

    isolated(check)


def test_two_of_the_sockets_time_outs_are_more_than_the_idle_limit_and_three_less_than_two_of_it():
    assert 2 * IDLE_SHARE > 1
    assert 3 * IDLE_SHARE < 2


@pytest.mark.parametrize("seconds", [1, 2, 3, 10, 60, 7200])
def test_a_vanished_peer_is_noticed_within_three_times_keepalive(bound, seconds):
    (one,) = bound("127.0.0.1", 0, config=settings(f"keepalive={seconds}s"))
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    idle, interval, count = (one.sock.getsockopt(socket.IPPROTO_TCP, option) for option in options)
    assert idle + interval * count <= 3 * seconds


def test_an_urgent_byte_is_a_byte_like_any_other(bound):
    (one,) = bound("127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", port_of(one)), timeout=DEADLINE) as conn:
        fd, _ = accept(one)
        with socket.socket(fileno=fd) as served:
            conn.sendall(b"a")
            conn.send(b"b", socket.MSG_OOB)
            conn.sendall(b"c")
            conn.shutdown(socket.SHUT_WR)
            assert receive_all(served) == b"abc"
