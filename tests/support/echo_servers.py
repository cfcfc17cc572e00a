"""Echo servers to try echoc on: a right one, and one for each way of being wrong.

Run as `python echo_servers.py KIND [ADDRESS]`, where KIND is a function here, or ACT@STEP for an act that comes after a
number of bytes (see `_until`). Prints its port, and serves until its process group is terminated.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable

Edit = Callable[[bytes, bytes], bytes]

AT = 70001  # where a fault that strikes at an offset strikes


def right(sock: socket.socket) -> None:
    while data := sock.recv(1 << 16):
        sock.sendall(data)


def slow(sock: socket.socket) -> None:
    """Right too, but a byte every half second."""
    while data := sock.recv(1 << 16):
        for byte in data:
            time.sleep(0.5)
            sock.sendall(bytes([byte]))


def _edit(sock: socket.socket, edit: Edit) -> None:
    """Echo, with the bytes around AT replaced by what `edit(before, after)` makes of them."""
    head = b""
    while len(head) < AT + 1000 and (data := sock.recv(1 << 16)):
        head += data
    sock.sendall(edit(head[:AT], head[AT:]) if len(head) > AT + 100 else head)
    right(sock)


def flip(sock: socket.socket) -> None:
    _edit(sock, lambda before, after: before + bytes([after[0] ^ 0x45]) + after[1:])


def drop(sock: socket.socket) -> None:
    _edit(sock, lambda before, after: before + after[1:])


def drop_block(sock: socket.socket) -> None:
    _edit(sock, lambda before, after: before + after[100:])


def duplicate(sock: socket.socket) -> None:
    _edit(sock, lambda before, after: before + before[-1:] + after)


def duplicate_block(sock: socket.socket) -> None:
    _edit(sock, lambda before, after: before + before[-4096:] + after)


def swap(sock: socket.socket) -> None:
    _edit(sock, lambda before, after: before + after[1::-1] + after[2:])


def insert(sock: socket.socket) -> None:
    _edit(sock, lambda before, after: before + b"Hello!\r\n" + after)


def banner(sock: socket.socket) -> None:
    sock.sendall(b"220 echo ready\r\n")
    right(sock)


def trailer(sock: socket.socket) -> None:
    right(sock)
    sock.sendall(b"bye")


def swap_blocks(sock: socket.socket) -> None:
    """Echo with each pair of 4 KiB blocks exchanged, once both are there."""
    while block := sock.recv(8192, socket.MSG_WAITALL):
        sock.sendall(block[4096:] + block[:4096] if len(block) == 8192 else block)


def uppercase(sock: socket.socket) -> None:
    while data := sock.recv(1 << 16):
        sock.sendall(data.upper())


def stop(sock: socket.socket) -> None:
    """Echo AT bytes, then read on in silence."""
    left = AT
    while left and (data := sock.recv(left)):
        sock.sendall(data)
        left -= len(data)
    while sock.recv(1 << 16):
        pass
    time.sleep(3600)


def deaf(_sock: socket.socket) -> None:
    time.sleep(3600)


def never_close(sock: socket.socket) -> None:
    right(sock)
    time.sleep(3600)


def close_early(sock: socket.socket) -> None:
    """Echo AT bytes and close in order, whatever else comes."""
    left = AT
    while left and (data := sock.recv(left)):
        sock.sendall(data)
        left -= len(data)
    sock.shutdown(socket.SHUT_WR)
    while sock.recv(1 << 16):
        pass


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("@ii", 1, 0))


def reset(sock: socket.socket) -> None:
    sock.sendall(sock.recv(1000))
    _reset(sock)


def reset_at_end(sock: socket.socket) -> None:
    right(sock)
    while not _all_acknowledged(sock):
        time.sleep(0.001)
    time.sleep(0.2)  # a reset discards what the peer has not read yet
    _reset(sock)


def _all_acknowledged(sock: socket.socket) -> bool:
    return bool(struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0] == 0)


def lose_after_half_close(sock: socket.socket) -> None:
    """Look for the end before echoing, as those do who poll for hang-up first."""
    while data := sock.recv(1 << 16):
        time.sleep(0.01)
        if not sock.recv(1, socket.MSG_PEEK):
            return
        sock.sendall(data)


def hang_on_write(sock: socket.socket) -> None:
    """Hang for ever once a write blocks: what a late reader brings upon a server that waits for itself."""
    while data := sock.recv(1 << 16):
        sock.settimeout(0.1)
        try:
            sock.sendall(data)
        except TimeoutError:
            time.sleep(3600)
        sock.settimeout(None)


def flip_third(sock: socket.socket) -> None:
    """Spoil the third message, if each comes in one piece."""
    for number in range(1, 1 << 30):
        if not (data := sock.recv(1 << 16)):
            return
        sock.sendall(bytes([data[0] ^ 1]) + data[1:] if number == 3 else data)


def mute_second(sock: socket.socket) -> None:
    for number in range(1, 1 << 30):
        if not (data := sock.recv(1 << 16)):
            return
        if number != 2:
            sock.sendall(data)


def record(sock: socket.socket) -> None:
    """Echo, and keep what came, by peer, in the current directory."""
    with open(f"{sock.getpeername()[1]}.received", "wb") as file:
        while data := sock.recv(1 << 16):
            file.write(data)
            file.flush()
            sock.sendall(data)


def mortal(sock: socket.socket) -> None:
    """End the whole server when a client resets. It serves in the accepting process, so it accepts no other before."""
    try:
        right(sock)
    except OSError:
        os.killpg(0, signal.SIGKILL)


def _stall(_sock: socket.socket) -> None:
    time.sleep(3600)


def _flood(sock: socket.socket) -> None:
    while True:
        sock.sendall(bytes(1 << 16))


def _drip(sock: socket.socket) -> None:
    while True:
        sock.sendall(b"x")
        time.sleep(0.02)


def _change(sock: socket.socket) -> None:
    if byte := sock.recv(1):
        sock.sendall(bytes([byte[0] ^ 1]))
        right(sock)


def _insert(sock: socket.socket) -> None:
    sock.sendall(b"8 bytes.")
    right(sock)


def _truncate(sock: socket.socket) -> None:
    while sock.recv(1 << 16):
        pass


def _discard(sock: socket.socket) -> None:
    _truncate(sock)
    _stall(sock)


def _reset_now(sock: socket.socket) -> None:
    _reset(sock)
    sock.close()


def _half_close(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)
    _discard(sock)


ACTS = {
    "stall": _stall,
    "flood": _flood,
    "drip": _drip,
    "change": _change,
    "insert": _insert,
    "truncate": _truncate,
    "discard": _discard,
    "reset": _reset_now,
    "half-close": _half_close,
}
AT_EOF = "eof"


def _until(sock: socket.socket, step: str, act: Callable[[socket.socket], None]) -> None:
    """Echo `step` bytes, or until the client half-closes, and then do what a right server does not."""
    left = sys.maxsize if step == AT_EOF else int(step)
    while left:
        data = sock.recv(min(1 << 16, left))
        if not data and step != AT_EOF:
            return
        if not data:
            break
        sock.sendall(data)
        left -= len(data)
    act(sock)


def serve(kind: str, address: str = "127.0.0.1") -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, 0), family=family, backlog=128)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    print(listener.getsockname()[1], flush=True)
    act, at, step = kind.partition("@")
    behave = (lambda sock: _until(sock, step, ACTS[act])) if at else globals()[kind]
    while True:
        sock, _ = listener.accept()
        if kind == "mortal" or os.fork() == 0:
            listener.close()
            try:
                behave(sock)
            except OSError:
                pass
            finally:
                os._exit(0)
        sock.close()


if __name__ == "__main__":
    serve(*sys.argv[1:])
