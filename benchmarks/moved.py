"""What a client keeps that has moved bulk and is idle: its memory before and after."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import proc
from generator import HOST, BenchmarkError

if TYPE_CHECKING:
    from servers import Server

CLIENTS = 4
QUIET = 0.5  # seconds in which a server may do what it does when nothing comes
TIMEOUT = 10.0
MIB = 1 << 20


def move(conn: socket.socket, data: bytes) -> None:
    """Send the bytes and take them back. Raises BenchmarkError."""
    got = bytearray()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(conn.sendall, data)
        while len(got) < len(data):
            part = conn.recv(MIB)
            if not part:
                raise BenchmarkError("closed by the server before all had come back")
            got += part
        sending.result()
    if got != data:
        raise BenchmarkError("wrong bytes came back")


def private(server: Server) -> int:
    """KiB that the children have to themselves."""
    time.sleep(QUIET)
    return sum(proc.memory(child).private for child in proc.descendants(server.pid))


def more(server: Server, size: int) -> float:
    """KiB a client, when it has moved `size` MiB, more than before. Raises BenchmarkError."""
    try:
        with contextlib.ExitStack() as stack:
            conns = [
                stack.enter_context(socket.create_connection((HOST, server.port), TIMEOUT)) for _ in range(CLIENTS)
            ]
            for conn in conns:
                move(conn, b"x" * 64)
            before = private(server)
            for conn in conns:
                for _ in range(size):
                    move(conn, os.urandom(MIB))
            return (private(server) - before) / CLIENTS
    except TimeoutError:
        raise BenchmarkError(f"no answer from the server for {TIMEOUT:g} s") from None
