from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from echod.echoc import Fault, Reply, ServerError, Summary, Target, ping
from echod.echoc.connect import connect
from echod.echoc.roundtrip import roundtrip
from support.sockets import tcp_pair
from support.wait import DEADLINE

if TYPE_CHECKING:
    from support.kinds import Echoc, StartEchoc, StartServer


def test_one_line_for_each_reply_and_a_summary(echoc: Echoc, echo_server: tuple[str, int]) -> None:
    result = echoc("--ping", "-c", 3, "-i", 0, *echo_server)
    assert result.returncode == 0
    lines = result.stdout.decode().splitlines()
    for seq, line in enumerate(lines[:3], 1):
        assert re.fullmatch(rf"56 bytes from 127\.0\.0\.1: seq={seq} time=\d+\.\d{{3}} ms", line)
    assert lines[3:5] == ["--- 127.0.0.1 echo statistics ---", "3 sent, 3 received, 0 lost (0%), 0 wrong"]
    assert re.fullmatch(r"rtt min/avg/max/mdev = [\d.]+/[\d.]+/[\d.]+/[\d.]+ ms", lines[5])
    assert re.fullmatch(r"rtt p50/p90/p99 = [\d.]+/[\d.]+/[\d.]+ ms", lines[6])


@pytest.mark.parametrize("size", [1, 1400, 10 << 20])
def test_any_size(echoc: Echoc, echo_server: tuple[str, int], size: int) -> None:
    result = echoc("--ping", "-c", 2, "-i", 0, "-s", size, *echo_server)
    assert result.returncode == 0
    assert result.stdout.startswith(f"{size} bytes from ".encode())


def test_interrupt_ends_with_the_summary(start_echoc: StartEchoc, echo_server: tuple[str, int]) -> None:
    process = start_echoc("--ping", "-i", 1000, *echo_server)
    assert b"seq=1 " in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert b"1 sent, 1 received, 0 lost (0%), 0 wrong" in process.stdout.read()
    assert process.stderr.read() == b""


def test_counts_wrong_replies(echoc: Echoc, server: StartServer) -> None:
    result = echoc("--ping", "-c", 4, "-i", 0, "127.0.0.1", server("flip_third"))
    assert result.returncode == 1
    text = result.stdout.decode()
    assert "wrong: seq=3: byte 0: expected 0x" in text
    assert "4 sent, 3 received, 0 lost (0%), 1 wrong" in text


def test_counts_lost_replies(echoc: Echoc, server: StartServer) -> None:
    result = echoc("--ping", "-c", 4, "-i", 0, "--timeout", 0.3, "127.0.0.1", server("mute_second"))
    assert result.returncode == 1
    text = result.stdout.decode()
    # A new connection after the first loss: its second message is lost too.
    assert "lost: seq=2: stopped echoing: 0 of 56 bytes returned, then nothing for 0.3 s" in text
    assert "4 sent, 2 received, 2 lost (50%), 0 wrong" in text


def test_a_server_that_has_gone_is_lost_replies(start_echoc: StartEchoc, foreign_server: StartServer) -> None:
    port = foreign_server("socat", "TCP-LISTEN:{},bind=127.0.0.1,reuseaddr", "PIPE")  # accepts() was its only client
    process = start_echoc("--ping", "127.0.0.1", port)
    assert process.wait(timeout=60) == 3


def test_json(echoc: Echoc, echo_server: tuple[str, int]) -> None:
    report = json.loads(echoc("--ping", "--json", "-c", 5, "-i", 0, *echo_server).stdout)
    assert (report["sent"], report["received"], report["lost"], report["wrong"]) == (5, 5, 0, 0)
    assert 0 < report["rtt"]["min"] <= report["rtt"]["p50"] <= report["rtt"]["p99"] <= report["rtt"]["max"]


def test_json_without_a_reply(echoc: Echoc, server: StartServer) -> None:
    result = echoc("--ping", "--json", "-c", 1, "--timeout", 0.1, "127.0.0.1", server("deaf"))
    assert result.returncode == 1
    assert json.loads(result.stdout) == {"sent": 1, "received": 0, "lost": 1, "wrong": 0, "rtt": None}


def test_as_a_function(echo_server: tuple[str, int]) -> None:
    replies = list(ping(Target(*echo_server), count=3, interval=0))
    assert [reply.seq for reply in replies] == [1, 2, 3]
    assert all(reply.seconds and not reply.fault for reply in replies)


def test_summary_against_values_worked_out_by_hand() -> None:
    summary = Summary()
    for seconds in (0.001, 0.002, 0.003, 0.004):
        summary.add(Reply(1, seconds))
    summary.add(Reply(5, None, Fault("stopped", "")))
    summary.add(Reply(6, None, Fault("changed", "")))
    assert (summary.sent, summary.lost, summary.wrong) == (6, 1, 1)
    assert summary.mean == pytest.approx(0.0025)
    assert summary.mdev == pytest.approx(0.001118033988749895)
    assert summary.percentiles(0, 25, 50, 51, 100) == [0.001, 0.001, 0.002, 0.003, 0.004]


MESSAGE = b"0123456789"


@pytest.mark.parametrize("size", [1, 64, 5 << 20])
def test_the_whole_message_comes_back(echo_server: tuple[str, int], size: int) -> None:
    with connect(Target(*echo_server)) as sock:
        assert roundtrip(sock, os.urandom(size), 30) > 0
        assert roundtrip(sock, os.urandom(size), 30) > 0, "the connection can be used again"


@pytest.mark.parametrize(
    ("answer", "kind", "message", "offset"),
    [
        (b"0123x56789", "changed", "byte 4: expected 0x34, got 0x78", 4),
        (b"0123456789+", "extra", "more than the 10 bytes sent", 10),
    ],
)
def test_an_answer_that_is_wrong(answer: bytes, kind: str, message: str, offset: int) -> None:
    client, server = socket.socketpair()
    with client, server:
        server.sendall(answer)
        with pytest.raises(ServerError) as raised:
            roundtrip(client, MESSAGE, 30)
    fault = raised.value.fault
    assert (fault.kind, fault.message, fault.offset) == (kind, message, offset)


def test_silence() -> None:
    client, server = socket.socketpair()
    with client, server:
        server.sendall(MESSAGE[:3])
        with pytest.raises(ServerError, match=r"stopped echoing: 3 of 10 bytes returned, then nothing for 0\.2 s"):
            roundtrip(client, MESSAGE, 0.2)


def test_an_early_end() -> None:
    client, server = socket.socketpair()
    with client, server:
        server.sendall(MESSAGE[:3])
        server.shutdown(socket.SHUT_WR)
        with pytest.raises(
            ServerError, match="closed early: before the client half-closed, with 3 of 10 bytes returned"
        ):
            roundtrip(client, MESSAGE, 30)


def test_a_reset() -> None:
    client, server = tcp_pair()
    with client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("@ii", 1, 0))
        server.close()
        poller = select.poll()
        poller.register(client, select.POLLIN)
        assert poller.poll(DEADLINE * 1000), "the reset is here"
        with pytest.raises(ServerError, match="reset, with 0 of 10 bytes returned"):
            roundtrip(client, MESSAGE, 30)
