"""How the memory of a client grows with the number of clients held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from metrics import memory_at

if TYPE_CHECKING:
    from generator import Generator
    from servers import Peer

MEMORY_AT = (100, 1000, 2500, 5000, 7500, 10000)


def measure(peer: Peer, generator: Generator) -> dict[str, Any]:
    """Memory in KiB a client, once for each number held."""
    with peer.serving() as server:
        memory = memory_at(server, generator, MEMORY_AT)
    return {"private": {count: memory[key] for count in MEMORY_AT if (key := f"memory.{count}.private") in memory}}
