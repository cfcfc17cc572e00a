from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from echod.echoc import ServerError
from echod.echoc.connect import RESET_AT_CLOSE
from echod.echoc.duplex import TCP_CLOSE, Board, forked, receive, sender, write_all
from support.daemon import SOURCE
from support.sockets import tcp_pair
from support.wait import DEADLINE, wait_for

if TYPE_CHECKING:
    from support.kinds import Eventually, StartEchoc, StartServer


def received(sock: socket.socket, board: Board, timeout: float = 30) -> bytes:
    return b"".join(map(bytes, receive(sock, board, timeout)))


def test_a_child_sends_and_this_process_receives() -> None:
    client, server = tcp_pair()

    def send(board: Board) -> None:
        board.sent = 5
        client.sendall(b"hello")
        board.half_close(client)

    with client, server, sender(send) as board:
        assert server.recv(9, socket.MSG_WAITALL) == b"hello", "five bytes, then the child's half-close"
        server.sendall(b"olleh")
        server.shutdown(socket.SHUT_WR)
        assert received(client, board) == b"olleh"
        assert (board.sent, board.ended, board.source_errno) == (5, True, 0)


def test_a_connection_that_breaks_ends_the_sender_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    def send(board: Board) -> None:
        board.sent = 1
        board.source_errno = errno.EIO
        raise BrokenPipeError

    with sender(send) as board:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    assert (board.sent, board.ended, board.source_errno) == (1, False, errno.EIO)
    assert capfd.readouterr().err == ""


def test_an_end_before_ours_is_early() -> None:
    client, server = tcp_pair()
    with client, server:
        board = Board()
        board.sent = 9
        server.sendall(b"123")
        server.shutdown(socket.SHUT_WR)
        with pytest.raises(
            ServerError, match="closed early: before the client half-closed, with 3 of 9 bytes returned"
        ):
            received(client, board)


@pytest.mark.parametrize(
    ("sent", "ended", "kind"), [(9, False, "stopped"), (9, True, "stopped"), (3, True, "never-closes")]
)
def test_silence_is_a_fault_where_something_is_due(sent: int, ended: bool, kind: str) -> None:
    client, server = tcp_pair()
    with client, server:
        board = Board()
        board.sent = sent
        if ended:
            board.half_close(client)
        server.sendall(b"123")
        with pytest.raises(ServerError) as raised:
            received(client, board, timeout=0.1)
    assert raised.value.fault.kind == kind


def test_all_is_written_however_it_is_cut() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, True)
    data = bytes(range(256)) * 8
    write_all(writing, memoryview(data))
    os.close(writing)
    with open(reading, "rb") as file:
        assert file.read() == data


def test_a_reset_is_one_even_if_only_the_sender_hears_of_it(start_echoc: StartEchoc, server: StartServer) -> None:
    port = server("reset")
    for _ in range(10):  # a race: who gets the error, sender or receiver
        with open("/dev/zero", "rb") as zero:
            process = start_echoc("127.0.0.1", port, stdin=zero)
            assert process.wait(timeout=60) == 1
        assert ": reset, with " in process.stderr.read().decode()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)])
def test_ended_by_a_signal_leaves_no_sender(
    start_echoc: StartEchoc, echo_server: tuple[str, int], eventually: Eventually, number: int, code: int
) -> None:
    process = start_echoc(*echo_server)
    process.stdin.write(b"ping")
    assert process.stdout.read(4) == b"ping"
    sender = psutil.Process(process.pid).children()[0]
    process.send_signal(number)
    assert process.wait(timeout=60) == code
    eventually(lambda: not sender.is_running() or sender.status() == psutil.STATUS_ZOMBIE)


def test_the_child_runs_and_is_gone_after_the_block() -> None:
    reading, writing = os.pipe()
    with forked(lambda: os.write(writing, str(os.getpid()).encode())):
        pid = int(os.read(reading, 100))
        assert pid != os.getpid()
        assert psutil.Process(pid).ppid() == os.getpid()
    assert not psutil.pid_exists(pid)
    for descriptor in (reading, writing):
        os.close(descriptor)


def test_a_child_that_goes_on_is_killed_and_one_that_is_finishing_is_waited_for() -> None:
    reading, writing = os.pipe()
    with forked(lambda: os.read(reading, 1)):  # for ever: killed
        pass
    with forked(lambda: (os.read(reading, 1), os.write(writing, b"done")), finished=lambda: True):
        os.write(writing, b"x")
    assert os.read(reading, 4) == b"done"
    for descriptor in (reading, writing):
        os.close(descriptor)


def test_signals_reach_the_parent_as_before() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with forked(signal.pause):
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_a_bug_in_the_child_is_not_silent(capfd: pytest.CaptureFixture[str]) -> None:
    with forked(lambda: 1 // 0, finished=lambda: True):
        pass
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_no_socket_option_holds_a_time() -> None:
    """SO_RCVTIMEO and SO_SNDTIMEO have other numbers and another layout on 32-bit systems with 64-bit time."""
    for path in (SOURCE / "echoc").glob("*.py"):
        assert not re.search(r"SO_(RCV|SND)TIMEO", path.read_text()), path


def test_a_server_that_reads_and_never_answers_is_silent_however_much_is_sent() -> None:
    client, server = tcp_pair()
    with client, server:
        board = Board()
        answer = receive(client, board, 0.1)
        board.sent = 1
        deadline = time.monotonic() + DEADLINE

        def send_on() -> None:
            while time.monotonic() < deadline:
                board.sent += 1
                time.sleep(0.001)

        with forked(send_on), pytest.raises(ServerError, match="stopped echoing: 0 of "):
            next(answer)


def test_an_idle_user_is_no_silence_and_then_the_server_has_the_whole_time_out() -> None:
    client, server = tcp_pair()

    def send_late() -> None:
        time.sleep(0.5)  # the idle time is what is tried
        server.sendall(b"late")

    with client, server, forked(send_late):
        board = Board()
        answer = receive(client, board, 0.2)
        assert bytes(next(answer)) == b"late"
        with pytest.raises(ServerError, match="4 bytes more than the 0 sent"):
            next(answer)


def test_a_connection_that_breaks_at_the_half_close_is_the_receivers_to_report() -> None:
    client, server = tcp_pair()
    board = Board()
    with client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        server.close()
        wait_for(lambda: client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE, "the reset")
        board.half_close(client)
        with pytest.raises(ServerError, match=r"^reset"):
            list(receive(client, board, 1))


@pytest.mark.parametrize("mode", [[], ["--verify", "-s", "1GiB", "--pattern", "late-close"]], ids=["stream", "verify"])
def test_a_sender_that_is_killed_ends_the_run(
    start_echoc: StartEchoc, echo_server: tuple[str, int], mode: list[str]
) -> None:
    process = start_echoc(*mode, *echo_server)
    if not mode:
        process.stdin.write(b"ping")
        assert process.stdout.read(4) == b"ping"
    parent = psutil.Process(process.pid)
    depth = 2 if mode else 1  # with --verify, a process of its own serves the connection
    wait_for(lambda: len(parent.children(recursive=True)) == depth, "the sender")
    parent.children(recursive=True)[-1].kill()
    assert process.wait(timeout=DEADLINE) == 4
    assert process.stderr.read() == b"echoc: a process of echoc was killed\n"


def test_without_ctypes_a_child_is_not_bound_to_its_parent_and_everything_else_works() -> None:
    code = "import sys; sys.modules['ctypes'] = None; from echod.echoc.duplex import forked\nwith forked(int): pass"
    subprocess.run([sys.executable, "-c", code], check=True)
