"""The kernel's TCP sockets by sock_diag(7), over netlink(7): those of this process's network namespace.

A table in /proc/net has a row for each connection, and to find its end the kernel walks its whole hash table. Here the
kernel is asked for sockets in certain states, or with a certain local port, and walks and sends no others.
The module asks and decodes. `netstat` chooses between it and the tables.
"""

from __future__ import annotations

import os
import struct
import sys

from echod.common.cmodules import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    # inode, address, peer, length of the accept queue: of a listener only
    Found = tuple[int, tuple[str, int], tuple[str, int], int]

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
REQUEST_AND_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
ERROR = 2  # NLMSG_ERROR
DONE = 3  # NLMSG_DONE
HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
REQUEST = struct.Struct("=4BI")  # struct inet_diag_req_v2: family, protocol, extensions, padding, states; then an id
IDENTITY = struct.Struct("!H46x")  # struct inet_diag_sockid: the local port; the rest is any
ADDRESSES = struct.Struct("!4x2H16s16s")  # struct inet_diag_msg: ports, local and remote address
NUMBERS_AT = 52  # in struct inet_diag_msg
NUMBERS = struct.Struct("=5I")  # its end: expires, receive queue, send queue, uid, inode
MESSAGE_BYTES = NUMBERS_AT + NUMBERS.size
RECEIVE_BYTES = 1 << 16
REPLY_S = 2.0  # the kernel answers at once
ADDRESS_BYTES = {socket.AF_INET: 4, socket.AF_INET6: 16}


def sockets(family: socket.AddressFamily, states: int, port: int = 0) -> Iterator[Found]:
    """Yield the TCP sockets of a family in these states (a bit each), with this local port unless it is 0.

    Raises OSError if the kernel does not answer.
    """
    for data, at in messages(family, states, port):
        local_port, remote_port, local, remote = ADDRESSES.unpack_from(data, at)
        _, waiting, _, _, inode = NUMBERS.unpack_from(data, at + NUMBERS_AT)
        size = ADDRESS_BYTES[family]
        hosts = (socket.inet_ntop(family, host[:size]) for host in (local, remote))
        yield inode, (next(hosts), local_port), (next(hosts), remote_port), waiting


def messages(family: socket.AddressFamily, states: int, port: int) -> Iterator[tuple[bytes, int]]:
    """Yield a buffer and where a socket begins in it, for each socket. Raises OSError."""
    request = REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, states) + IDENTITY.pack(port)
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
    try:
        sock.settimeout(REPLY_S)
        sock.send(HEADER.pack(HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, REQUEST_AND_DUMP, 0, 0) + request)
        while True:
            data, at = sock.recv(RECEIVE_BYTES), 0
            while at + HEADER.size <= len(data):
                length, kind, *_ = HEADER.unpack_from(data, at)
                if kind == DONE:
                    return
                if kind == ERROR:
                    number = -int.from_bytes(data[at + HEADER.size : at + HEADER.size + 4], sys.byteorder, signed=True)
                    raise OSError(number, os.strerror(number))
                if length >= HEADER.size + MESSAGE_BYTES:
                    yield data, at + HEADER.size
                at += max(HEADER.size, length + 3 & ~3)
    finally:
        sock.close()
