"""What the unit tests share: settings in force, a log and a scoreboard in memory, pairs of connected sockets."""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import select
import signal
import socket
import struct
from pathlib import Path
from typing import Any

from echod.common import scoreboard
from echod.common.config import settings as config
from echod.common.reasons import CRASHED
from echod.common.scoreboard import RECEIVED, SENT
from echod.common.signals_table import HANDLED
from echod.common.socket_options import IDLE_SHARE
from echod.common.sockets import bind
from echod.log.log import Log
from echod.log.sinks import Sink
from echod.server.acceptor import Acceptor
from echod.server.board import Board
from echod.server.children import Children
from echod.server.process import OomScore, highest_fd
from echod.server.signals import SignalPipe
from echod.session.session import Limits, Session
from support.processes import reap, state
from support.wait import DEADLINE, wait_for


def settings(*overrides):
    """Return the settings that `-o` words lead to, over the defaults."""
    return config.load("/dev/null", overrides, "/", log="stderr")


class Memory(Sink):
    """A log in memory: `texts` are its lines."""

    def __init__(self):
        self.texts: list[str] = []

    def write(self, _level, text):
        self.texts.append(text)
        return True

    def events(self, verb):
        """Return the lines that begin with a verb."""
        return [text for text in self.texts if text.split()[0] == verb]


def memory_log(*overrides):
    """Return a log in memory and its sink."""
    sink = Memory()
    return Log(settings(*overrides), sink), sink


def make_board(max_children=64):
    """Return a scoreboard in memory, as the server maps it, with room for so many clients."""
    fd = os.memfd_create("scoreboard")
    scoreboard.initialize(fd, max_children)
    return Board(fd)


def port_of_its_own() -> int:
    """Return a port that is free on all IPv4 addresses, and that the kernel gives to no client (ip(7))."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(5000, first), 100):
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            return port
    raise AssertionError(f"100 ports tried, none is free below {first}")


def receive_all(conn):
    """Read until the peer closes, and return the bytes."""
    parts = []
    while part := conn.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def receive(conn, size):
    """Read so many bytes and return them."""
    parts = []
    while size > 0:
        parts.append(conn.recv(min(size, 1 << 18)))
        assert parts[-1], f"closed {size} bytes too early"
        size -= len(parts[-1])
    return b"".join(parts)


def exchange(address, data, timeout=DEADLINE):
    """Send `data`, half-close, and return what comes back until the server closes."""
    with socket.create_connection(address, timeout=timeout) as conn:
        conn.sendall(data)
        conn.shutdown(socket.SHUT_WR)
        return receive_all(conn)


def tcp_pair():
    """Return two ends of a TCP connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        served, _ = listening.accept()
    return client, served


def limits(idle=None, lifetime=None, drain=10.0):
    """Return the limits of a session, in seconds."""
    return Limits(idle, lifetime, lambda: drain)


NEVER = limits()
PAIRS = {"tcp": tcp_pair, "unix": socket.socketpair}


def signal_pipe():
    """Return a signal pipe with the signals unblocked."""
    pipe = SignalPipe()
    pipe.open()
    return pipe


class Served:
    """A session in a process of its own, run as `children` does; `conn` is the peer's end."""

    def __init__(self, limits=NEVER, *, pair=tcp_pair, buffers=0):
        self.conn, served = pair()
        for end in (self.conn, served) if buffers else ():
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
        idle = (limits.idle or 0.0) * IDLE_SHARE  # as the listener has it, and its clients inherit it
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            served.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(idle), int(idle % 1 * 1e6)))
        self.conn.settimeout(DEADLINE)
        shared = mmap.mmap(-1, mmap.PAGESIZE)
        self.counters = memoryview(shared).cast("B").cast("Q")[:5]
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)  # until the child has its handlers
        self.pid = os.fork()
        if self.pid == 0:
            reason = CRASHED
            try:
                self.conn.close()
                client = Session(limits)
                signal_pipe().session = client
                reason = client.run(served.fileno(), self.counters, 0)
            finally:
                os._exit(reason)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        served.close()
        wait_for(lambda: state(self.pid) == "S", "the session to read")

    def end(self):
        """Return the reason, once the session is over."""
        pid, self.pid = self.pid, 0
        return reap(pid)

    def pause(self):
        """Stop the process; what arrives now is in the socket when it goes on."""
        os.kill(self.pid, signal.SIGSTOP)
        wait_for(lambda: state(self.pid) == "T", "the child to be stopped")

    def signal(self, *signums):
        for signum in signums:
            os.kill(self.pid, signum)

    def stuff(self, data):
        """Send until no more is taken, without reading; return how many bytes were."""
        self.conn.setblocking(False)
        taken = 0
        with contextlib.suppress(BlockingIOError):
            while select.select([], [self.conn], [], 0.3)[1]:
                taken += self.conn.send(data[taken % len(data) :])
        self.conn.settimeout(DEADLINE)
        return taken

    def stuff_until_behind(self):
        """Send until the session has read more than it can write."""
        wait_for(lambda: not self.stuff(bytes(1 << 20)) and self.counters[RECEIVED] > self.counters[SENT])

    def queued(self):
        """Return how many bytes wait in the session's socket (proc_net_tcp: rx_queue)."""
        ends = [f":{address[1]:04X}" for address in (self.conn.getpeername(), self.conn.getsockname())]
        for line in Path("/proc/net/tcp").read_text().splitlines():
            _, local, remote, _, queues = line.split()[:5]
            if [local[-5:], remote[-5:]] == ends:
                return int(queues.partition(":")[2], 16)
        raise AssertionError("no such connection")

    def close(self):
        self.conn.close()
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def port_of(one):
    """Return the port of a listener."""
    return one.sock.getsockname()[1]


def accept(one):
    """Wait for a client, and accept it."""
    assert select.select([one.fd], [], [], DEADLINE)[0]
    return one.accept()


class Polled:
    """A poll object that knows what is registered."""

    def __init__(self):
        self._poll = select.poll()
        self.registered: set[int] = set()

    def register(self, fd, event):
        assert fd not in self.registered
        self.registered.add(fd)
        self._poll.register(fd, event)

    def unregister(self, fd):
        self.registered.remove(fd)
        self._poll.unregister(fd)

    def poll(self, timeout):
        return self._poll.poll(timeout)


class Front:
    """An acceptor over real children, with all it needs; what the server's loop does is in `accept` and `reap`."""

    def __init__(self, *overrides, listeners=1, log=()):
        self.board = make_board(1024)
        self.reader = scoreboard.Scoreboard(self.board.fd)
        self.log, self.lines = memory_log(*log)
        self.signals = signal_pipe()
        self.children = Children(self.board, self.signals, settings("idle_timeout=never"), self.log)
        self.poller = Polled()
        poller: Any = self.poller
        self.acceptor = Acceptor(self.board, self.children, poller, OomScore(), self.log)
        self.clients: list[socket.socket] = []
        self.listeners = [self.listen() for _ in range(listeners)]
        self.configure(*overrides)

    def listen(self):
        """Return a new listener on a free port."""
        return bind(("127.0.0.1", 0), settings())[0]

    def configure(self, *overrides):
        """Put settings and the listeners in force, as a reload does."""
        self.children.highest_fd = highest_fd() + 64
        self.acceptor.configure(settings(*overrides), self.listeners)

    def connect(self, listener=0):
        """Return a new client of a listener."""
        client = socket.create_connection(self.listeners[listener].sock.getsockname(), timeout=DEADLINE)
        self.clients.append(client)
        return client

    def accept(self):
        """Accept from each listener that is ready, as long as the acceptor polls them; return how many clients."""
        accepted = 0
        for fd, _event in self.poller.poll(0):
            if fd in self.poller.registered:
                accepted += self.acceptor.accept(self.acceptor.listeners[fd])
        return accepted

    def reap(self):
        """Reap the exited children; return how many."""
        addresses, _ = self.children.reap()
        self.acceptor.on_reaped(addresses)
        return len(addresses)

    def end(self, *clients):
        """Close the clients' ends, and reap until their children are gone."""
        gone = {client.getsockname() for client in clients}
        for client in clients:
            client.close()

        def reaped():
            self.reap()
            return not gone & {child.address for child in self.children.table.values()}

        wait_for(reaped, "the clients' children to be reaped")

    def count(self, *words):
        return [self.reader.words[word] for word in words]


def is_served(client):
    """Tell whether a byte comes back."""
    client.sendall(b"x")
    return client.recv(1) == b"x"


def is_rejected(client):
    """Tell whether the connection is closed unserved."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True
