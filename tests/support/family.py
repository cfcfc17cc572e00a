"""What the tests of children share: a table of them with all that it needs."""

from __future__ import annotations

from echod.common import scoreboard
from echod.server.children import Children
from echod.server.process import highest_fd
from support.processes import state
from support.sockets import make_board, memory_log, settings, signal_pipe, tcp_pair
from support.wait import wait_for

ADDRESS = ("127.0.0.1", 7)
PEER = "127.0.0.1:7"
COUNTED = (scoreboard.ACCEPTED, scoreboard.CLOSED, scoreboard.PEAK)


class Family:
    """A table of children with all it needs; `lines` is what was logged."""

    def __init__(self, *overrides):
        self.board = make_board(1024)
        self.reader = scoreboard.Scoreboard(self.board.fd)
        self.log, self.lines = memory_log(*overrides)
        self.signals = signal_pipe()
        self.children = Children(self.board, self.signals, settings("idle_timeout=never"), self.log)
        self.children.highest_fd = highest_fd()
        self.addresses: list[tuple] = []

    def configure(self, *overrides):
        """Put settings in force, as a reload does."""
        self.children.configure(settings("idle_timeout=never", *overrides))

    def spawn(self, address=ADDRESS):
        """Spawn a child and return the client's end of its connection."""
        client, conn = tcp_pair()
        self.children.highest_fd = highest_fd()
        self.children.unwatch()
        self.children.spawn(conn.fileno(), address)
        conn.close()
        return client

    def only(self):
        """Return the pid of the only child."""
        (pid,) = self.children.table
        return pid

    def reap(self):
        """Reap until the table is empty."""

        def empty():
            self.addresses += self.children.reap()[0]
            return not self.children.table

        wait_for(empty, "all children to be reaped")

    def reasons(self):
        """Reap, and return the reasons that were logged."""
        self.reap()
        return [line.split("reason=")[1].split()[0] for line in self.lines.events("close")]

    def words(self, *words):
        return [self.reader.words[word] for word in words]


def exited(*pids):
    """Wait until these children have exited; they are not reaped."""
    for pid in pids:
        wait_for(lambda pid=pid: state(pid) == "Z", "a child to exit")
