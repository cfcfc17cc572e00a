from __future__ import annotations

import os
import socket

import pytest

from echod.cli.check.ports import sockets_at
from echod.cli.rehearsal import PlaceError, Rehearsal
from echod.common.bind_errors import BindError
from echod.common.config.addresses import parse_address, write_address
from echod.common.sockets import bind_all
from support.processes import fork, reap
from support.sockets import port_of_its_own, settings
from support.wait import skip


def rehearse(listen, own=()):
    """Rehearse a start while this process is the daemon; return what would fail."""
    names = [write_address(sock.getsockname()) for sock in own]
    try:
        for one in bind_all([parse_address(text) for text in listen.split()], settings(), Rehearsal(0, names)):
            one.close()
    except BindError as error:
        return str(error)
    return ""


def listener(host, port, family=socket.AF_INET):
    try:
        return socket.create_server((host, port), family=family)
    except OSError:
        skip("IPv6" if family == socket.AF_INET6 else "127.0.0.2")


def test_a_wider_address_is_free_unless_another_process_holds_a_part():
    port = port_of_its_own()
    with listener("127.0.0.1", port) as own:
        assert rehearse(f"*:{port}", [own]) == ""
        assert "in use" in rehearse(f"*:{port}")
        with listener("127.0.0.2", port):
            assert "in use" in rehearse(f"*:{port}", [own])
            assert rehearse(f"127.0.0.1:{port}", [own]) == ""
            assert rehearse(f"127.0.0.3:{port}", [own]) == ""
        assert rehearse(f"*:{port}", [own]) == ""


@pytest.mark.parametrize("wanted", ["0.0.0.0:{}", "*:{}", "[::]:{}", "[::1]:{} 127.0.0.1:{}"])
def test_both_families_of_the_daemon(wanted):
    port = port_of_its_own()
    with listener("127.0.0.1", port) as four, listener("::1", port, socket.AF_INET6) as six:
        assert rehearse(wanted.format(port, port), [four, six]) == ""
        assert ("in use" in rehearse(wanted.format(port, port), [six])) == (wanted != "[::]:{}")
        assert ("in use" in rehearse(wanted.format(port, port), [four])) == (wanted != "0.0.0.0:{}")


def test_a_socket_for_ipv6_alone_next_to_the_daemons_is_no_obstacle():
    port = port_of_its_own()
    with listener("127.0.0.1", port) as own, listener("::", port, socket.AF_INET6):
        assert rehearse(f"0.0.0.0:{port}", [own]) == ""
        assert "in use" in rehearse(f"*:{port}", [own])


def test_clients_of_the_daemon_are_no_obstacle():
    with socket.create_server(("", 0)) as wide:
        port = wide.getsockname()[1]
        client = socket.create_connection(("127.0.0.2", port))
        conn, _ = wide.accept()
    with client, conn, listener("127.0.0.1", port) as own:
        assert rehearse(f"*:{port}", [own]) == ""


def test_an_outgoing_connection_of_another_is_one():
    with socket.create_server(("127.0.0.1", 0)) as peer, socket.socket() as other:
        other.bind(("127.0.0.2", 0))
        other.connect(peer.getsockname())
        port = other.getsockname()[1]
        with listener("127.0.0.1", port) as own:
            assert "in use" in rehearse(f"*:{port}", [own])


@pytest.mark.parametrize("listen", ["*:{0} 127.0.0.1:{0}", "127.0.0.1:{0} 0.0.0.0:{0}", "[::1]:{0} *:{0}"])
def test_addresses_of_one_list_that_overlap(listen):
    assert "overlaps" in rehearse(listen.format(port_of_its_own()))


def test_an_address_of_no_interface_names_its_place():
    with pytest.raises(PlaceError) as caught:
        Rehearsal()(socket.AF_INET, ("192.0.2.1", 7), ("192.0.2.1", 7), settings())
    assert caught.value.place == (socket.AF_INET, ("192.0.2.1", 7))


def test_the_daemons_sockets_are_known_by_their_descriptors():
    port = port_of_its_own()
    with listener("127.0.0.1", port):

        def check():
            for one in bind_all([("*", port)], settings(), Rehearsal(parent)):
                one.close()
            with pytest.raises(BindError):
                bind_all([("*", port)], settings(), Rehearsal(1))

        parent = os.getpid()
        assert reap(fork(check)) == 0
        assert sockets_at("127.0.0.1", port)
