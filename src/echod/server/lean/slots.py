"""The records of the children, in a pool, as the PMChild slots of PostgreSQL are (pmchild.c).

Each record belongs to one slot of the scoreboard for good. The record that was freed last is used first, because its
pages are already the daemon's own: a new object for each client would touch new pages. Slots are taken several at a
time, so that the clients that stay share the pages of their records.
"""

from __future__ import annotations

from echod.common.scoreboard import MAX_CHILDREN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from echod.server.board import Board

FREE, SPAWNED, RECORDED = range(3)
SLOTS_AT_ONCE = 16


class Child:
    """The process of a client, or of none yet.

    `address` is the client's, in the format of accept(2), and `peer` the same as text. If the child is `named`, the
    client is the one that the child itself writes into the slot: a load balancer's header names it.
    """

    __slots__ = ("address", "named", "peer", "slot", "state")

    def __init__(self, slot: int) -> None:
        self.slot, self.state, self.peer, self.named = slot, FREE, "", False
        self.address: tuple[Any, ...] = ()


class Slots:
    """The records that no child has, in the list `free`: the caller takes from it, and calls `add` if it is empty."""

    __slots__ = ("_board", "free")

    def __init__(self, board: Board) -> None:
        self._board = board
        self.free: list[Child] = []

    def add(self) -> list[Child]:
        """Take more slots, the lowest last, and return the list of all that are free."""
        for _ in range(max(1, min(SLOTS_AT_ONCE, self._board.words[MAX_CHILDREN] - self._board.top))):
            self.free.insert(0, Child(self._board.take()))
        return self.free

    def give_back(self, child: Child) -> None:
        """Make a record free again."""
        child.state, child.address, child.peer = FREE, (), ""
        self.free.append(child)
